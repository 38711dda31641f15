"""Starts llama.cpp's own HTTP server out of the `xllamacpp` wheel, with llama-server's spellings of flags.

The wheel holds the server as a library and no executable. Only flags which llama-server has, with its
meaning and its defaults, are taken, so that an argv means the same to both.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading

import xllamacpp

SLOTS_AUTO = -1
SLOTS_DEFAULT = 4  # llama-server: `--parallel -1` means 4 slots over one unified KV cache


def main() -> None:
    arguments = _parser().parse_args()
    params = _params(arguments)
    # llama.cpp waits for open streams on SIGTERM, without limit: end at once, as a container's stop expects
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    print(xllamacpp.get_system_info(), flush=True)
    server = xllamacpp.Server(params)
    print(
        f"levelbench: xllamacpp {xllamacpp.__version__} listening on {server.listening_address}", flush=True
    )
    threading.Event().wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--model", required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--ctx-size", type=int, default=0, help="0: the model's own")
    parser.add_argument("--parallel", type=int, default=SLOTS_AUTO)
    parser.add_argument("--threads", type=int, default=-1)
    parser.add_argument("--n-gpu-layers", type=int, default=-1)
    parser.add_argument("--top-k", type=int, default=40, help="0: all tokens")
    parser.add_argument("--min-p", type=float, default=0.05, help="0: all tokens")
    parser.add_argument("--metrics", action="store_true")
    parser.add_argument("--kv-unified", action="store_true")
    parser.add_argument("--no-cache-prompt", action="store_true")
    parser.add_argument("--cache-ram", type=int, default=8192, help="MiB")
    return parser


def _params(arguments: argparse.Namespace) -> xllamacpp.CommonParams:
    automatic = arguments.parallel == SLOTS_AUTO
    params = xllamacpp.CommonParams()
    params.model.path = arguments.model
    params.model_alias = {arguments.alias}
    params.hostnames = [arguments.host]
    params.port = arguments.port
    params.n_ctx = arguments.ctx_size
    params.n_parallel = SLOTS_DEFAULT if automatic else arguments.parallel
    params.kv_unified = automatic or arguments.kv_unified
    params.cpuparams.n_threads = arguments.threads
    params.cpuparams_batch.n_threads = arguments.threads
    params.sampling.top_k = arguments.top_k
    params.sampling.min_p = arguments.min_p
    params.n_gpu_layers = arguments.n_gpu_layers
    params.endpoint_metrics = arguments.metrics
    params.cache_prompt = not arguments.no_cache_prompt
    params.cache_ram_mib = arguments.cache_ram
    params.ui = False
    return params


if __name__ == "__main__":
    main()
