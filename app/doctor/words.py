"""Words and tokens: the model's tokenizer and the form in which it is given a conversation. No torch."""

from __future__ import annotations

from app.chat.prompt import TemplateError
from app.chat.templates import select_template
from app.chat.tokenizer import Tokenizer
from app.chat.tokenizer_files import TokenizerError
from app.doctor.finding import Finding, fail, ok
from app.engine.model_source import ModelSource, model_shape


def tokenizer(source: ModelSource, template: str) -> Finding:
    """Whether text comes back from tokens as it was, and which template will be used."""
    text = "Hello, 你好 😀\n"
    try:
        found = Tokenizer.from_folder(source.folder)
        form = select_template(template, found, source.name)
    except TokenizerError as error:
        return fail("tokenizer", str(error), "save the model again with its tokenizer, or serve another")
    except TemplateError as error:
        return fail("tokenizer", str(error), "set TROIKA_TEMPLATE to a form that suits the model")
    if found.decode(found.encode(text)) != text:
        return fail("tokenizer", f"{text!r} does not survive it", "save the model again with its tokenizer")
    room = model_shape(source.folder).vocab_size
    if found.vocab_size > room:
        return fail(
            "tokenizer", f"it has {found.vocab_size} tokens and the model {room}", "the two do not belong together"
        )
    return ok("tokenizer", f"{found.vocab_size} tokens, conversations in the form {form.name!r}")
