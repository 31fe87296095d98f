"""`python -m app.doctor`: check everything, one line each; the exit code is 1 if something must be mended."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from app import engine_config
from app.doctor import access, machine, services, words
from app.doctor.finding import Finding, fail, ok, warn
from app.engine.model_source import STARTER_FOLDER, ModelRefusedError, ModelSource, resolve_here, weight_files
from config.settings import Settings, SettingsError, load_settings, unknown_variables


def findings() -> Iterator[Finding]:
    """Each finding as it is reached; what needs torch comes last."""
    try:
        settings = load_settings()
    except SettingsError as error:
        yield fail("settings", str(error), "correct it; the README's table has every setting")
        return
    unknown = unknown_variables()
    if unknown:
        yield warn("settings", f"not a setting: {', '.join(unknown)}", "correct or remove it")
    else:
        yield ok("settings", "every one is allowed")
    yield access.keys(settings)
    yield access.rate_limits(settings)
    yield machine.processor(settings.precision)
    yield from machine.folders(settings)
    yield services.database(settings.database_url)
    if settings.engine == "ray":
        yield services.cluster(settings.cluster_address)
    yield services.digits(settings)
    try:
        source = resolve_here(settings.model)
    except ModelRefusedError as error:
        yield fail("model", str(error), "correct TROIKA_MODEL, or take TROIKA_MODEL=starter")
        return
    yield services.hub(settings.model, source is not None)
    if source is not None:
        yield from _of_the_model(settings, source)
    elif settings.model == "auto":
        yield from _of_the_model(settings, ModelSource("starter", STARTER_FOLDER, "gpt2 is not here"))
    else:
        yield warn(
            "model", f"{settings.model} is not here yet, so nothing of it was checked", "check again after a start"
        )


def _of_the_model(settings: Settings, source: ModelSource) -> Iterator[Finding]:
    yield words.tokenizer(source, settings.template)
    from app.doctor import model  # loads torch: seconds in which the lines above are already to be read

    # Weights are kept as float32 while they are packed; the cache is taken as it fills.
    yield machine.memory(2 * sum(path.stat().st_size for path in weight_files(source.folder)))
    yield from model.check(engine_config(settings, source.folder))


def main() -> int:
    failed = False
    for finding in findings():
        print(finding, flush=True)
        failed |= finding.level == "fail"
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
