"use strict";
(() => {
  const { specs, charts, theme } = JSON.parse(document.getElementById("charts").textContent);
  const root = document.documentElement;
  const plots = [...document.querySelectorAll(".plot")];

  /* The theme names the page's own colours, so that charts follow it without being drawn again. */
  const font = getComputedStyle(document.body).fontFamily;
  const widest = (name) => Math.max(...name.split(" (").map((line) => line.length));
  const longest = (rows) => Math.max(8, ...rows.map((row) => widest(String(row.engine || ""))));
  const config = (width, rows) => ({
    ...theme,
    font,
    legend: { ...theme.legend, columns: Math.max(1, Math.floor((width - 60) / (40 + 7 * longest(rows)))) },
    style: { ...theme.style, panel: { ...theme.style.panel, font } },
  });

  /* Vega-Lite stretches single views only: facets and stacked panels get their share of the width here. */
  const NARROWEST = 170;
  function fitted(spec, width, columns) {
    const copy = structuredClone(spec);
    if (copy.vconcat) {
      copy.vconcat.forEach((panel) => { panel.width = Math.max(NARROWEST, width - 64); });
    } else if (copy.facet) {
      const abreast = Math.max(1, Math.min(columns, Math.floor(width / NARROWEST)));
      if (abreast < columns) {
        copy.facet = copy.facet.column;
        copy.columns = abreast;
      }
      copy.spec.width = Math.floor((width - 70 - (abreast - 1) * 22) / abreast);
    } else {
      copy.width = width;
      copy.autosize = { type: "fit-x", contains: "padding" };
    }
    return copy;
  }

  /* What is folded away costs nothing until somebody opens it. */
  const folded = (plot) => plot.closest("details:not([open])") !== null;
  document.addEventListener("toggle", (event) => event.target.querySelectorAll(".plot").forEach(draw), true);

  async function draw(plot) {
    const width = Math.floor(plot.clientWidth);
    if (!width || folded(plot) || Math.abs(width - (plot.dataset.width || 0)) < 4) return;
    plot.dataset.width = width;
    const [number, columns, rows] = charts[plot.dataset.chart];
    const spec = fitted(specs[number], width, columns);
    await vegaEmbed(plot, { ...spec, data: { values: rows }, description: plot.dataset.label }, {
      mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false, tooltip, hover: false,
      config: config(width, rows),
    });
    plot.classList.add("drawn");
  }

  /* Text only: what a run stored is never read as HTML. */
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  document.body.append(tip);
  function tooltip(_, event, __, value) {
    tip.hidden = !value;
    if (!value) return;
    tip.textContent = typeof value === "object" ? Object.values(value).join("\n") : String(value);
    const left = Math.min(event.pageX + 14, scrollX + innerWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(scrollX + 4, left)}px`;
    tip.style.top = `${event.pageY + 14}px`;
  }

  /* What comes into view is drawn at once; the rest when there is nothing else to do, so that paper has it too. */
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
  }, { rootMargin: "400px" });
  plots.forEach((plot) => seen.observe(plot));

  const idle = window.requestIdleCallback || ((work) => setTimeout(work, 50));
  async function drawRest() {
    const next = plots.find((plot) => plot.clientWidth && !plot.dataset.width && !folded(plot));
    if (!next) return;
    await draw(next);
    idle(drawRest);
  }
  addEventListener("load", () => idle(drawRest));

  let pending;
  addEventListener("resize", () => {
    clearTimeout(pending);
    pending = setTimeout(() => plots.forEach((plot) => { if (plot.dataset.width) draw(plot); }), 150);
  });

  const button = document.getElementById("theme");
  const CHOICES = ["auto", "light", "dark"];
  button.addEventListener("click", () => {
    const name = CHOICES[(CHOICES.indexOf(root.dataset.theme || "auto") + 1) % CHOICES.length];
    if (name === "auto") delete root.dataset.theme;
    else root.dataset.theme = name;
    button.textContent = `theme: ${name}`;
  });
})();
