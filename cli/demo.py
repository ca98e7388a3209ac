"""keras-parts demo"""

import threading

import click

from keras_parts.cli.choosing import choose_model, model_options, say_loading
from keras_parts.cli.options import examples, model_name
from keras_parts.cli.runtime import import_keras, select_backend
from keras_parts.errors import escape_controls


@click.command(
    epilog=examples(
        "demo --model cub --open",
    )
)
@model_options
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen at; 0.0.0.0 makes the page available to other machines.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port [default: the first free one from 7860]."
)
@click.option("--open", "in_browser", is_flag=True, help="Open the page in a browser.")
def demo(
    model: str | None, of: str | None, trust: bool, host: str, port: int | None, in_browser: bool
) -> None:
    """Serve a page that shows the parts of a photo dropped on it.

    The page runs on this machine, and photos stay there. Ctrl-C ends it.
    """
    select_backend()
    from keras_parts import zoo
    from keras_parts.inference.demo import create_page, serve

    model = choose_model(model, of, trust=trust)
    say_loading(model)
    import_keras()
    name = model_name(model)
    page = create_page(zoo.load(model, trust=trust), name)
    try:
        address = serve(page, host, port)
        click.echo(escape_controls(f"{name} is at {address} (Ctrl-C ends it)"))
        if in_browser:
            click.launch(address)
        _wait()
    finally:
        page.close(verbose=False)


def _wait() -> None:
    """Wait for Ctrl-C."""
    threading.Event().wait()
