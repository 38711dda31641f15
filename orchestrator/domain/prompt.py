"""What one request says: a conversation that ends with the user's turn, and how long the answer is to be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One turn, by `system`, `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation as the engine gets it. `output_tokens` is an answer length of its own, which replaces
    the workload's limit; None leaves it to that."""

    messages: tuple[Message, ...]
    output_tokens: int | None = None

    @classmethod
    def of(cls, text: str, output_tokens: int | None = None) -> Prompt:
        """A conversation of one turn."""
        return cls((Message("user", text),), output_tokens)

    @property
    def text(self) -> str:
        """The turn that is to be answered."""
        return self.messages[-1].content

    @property
    def history(self) -> tuple[Message, ...]:
        """Everything before it."""
        return self.messages[:-1]
