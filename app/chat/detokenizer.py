"""Token ids to text while they arrive: never half a character, never half a stop string.

What it returns, joined, is what decoding all tokens at once and cutting at the first stop string gives,
however the text falls into tokens. Which tokens end a reply is the engine's affair; special tokens just
give no text here.
"""

import codecs
from collections.abc import Iterable

from app.chat.stop_strings import StopMatcher
from app.chat.tokenizer import Tokenizer


class Detokenizer:
    """Decodes one reply.

    `strip_leading` drops white space at its start, where the form of the prompt calls for it ("Assistant:" is
    followed by " Hello"). Stop strings are sought first: "\\nUser:" stops a reply that begins with it.
    `skip_special=False` shows special tokens by their text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        stop_strings: Iterable[str] = (),
        *,
        strip_leading: bool = False,
        skip_special: bool = True,
    ) -> None:
        self._tokenizer = tokenizer
        self._skipped = tokenizer.special_ids if skip_special else frozenset[int]()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._matcher = StopMatcher(stop_strings)
        self._at_start = strip_leading

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found: no further token gives text."""
        return self._matcher.matched is not None

    @property
    def stop_string(self) -> str | None:
        """The stop string that ended the reply."""
        return self._matcher.matched

    def push(self, token_id: int) -> str:
        """Take the next token and return the text that is now certain to belong to the reply."""
        if self.stopped or token_id in self._skipped:
            return ""
        text = self._decoder.decode(self._tokenizer.token_bytes(token_id))
        return self._strip(self._matcher.feed(text))

    def flush(self) -> str:
        """There are no more tokens: return the rest, a character left incomplete as U+FFFD."""
        text = self._matcher.feed(self._decoder.decode(b"", final=True))
        return self._strip(text + self._matcher.finish())

    def _strip(self, text: str) -> str:
        if self._at_start:
            text = text.lstrip()
            self._at_start = not text
        return text
