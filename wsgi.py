"""The WSGI application: `gunicorn -c config/gunicorn.py wsgi:app`."""

import os
import sys

from app import create_app
from app.chat.prompt import TemplateError
from app.chat.tokenizer_files import TokenizerError
from app.engine.model_source import ModelRefusedError
from app.storage.database import DatabaseError
from config.settings import SettingsError

APP_LOAD_ERROR = 4
"""The exit code by which a gunicorn worker tells its master to give up rather than start another."""


def refuse(message: str) -> None:
    """Stop the whole service, from any thread, with the sentence that says why."""
    sys.stderr.write(f"troika: {message}\n")
    sys.stderr.flush()
    os._exit(APP_LOAD_ERROR)


try:
    app = create_app(on_refused=refuse)
except (SettingsError, ModelRefusedError, TokenizerError, TemplateError, DatabaseError) as error:
    refuse(str(error))
