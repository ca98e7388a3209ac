"""keras-parts convert"""

import click

from keras_parts.cli.options import CommandResult, common_options, examples
from keras_parts.cli.runtime import import_keras


@click.command(
    epilog=examples(
        "convert cub_released.pth --output released/",
    )
)
@click.argument("checkpoint")
@click.option("--output", "-o", required=True, metavar="DIR", help="Folder for the segmenter.")
@common_options
def convert(checkpoint, output, seed, quiet):
    """Convert a checkpoint released with the paper to a segmenter.

    CHECKPOINT is a .pth file of the paper's public code. Pass the folder DIR as --model to the
    other commands. The segmenter predicts no background: evaluate it with protocols that take the
    data set's masks. PyTorch must be installed to read the file; nothing in it is executed.
    """
    import_keras()
    from keras_parts.models.paper_checkpoints import from_released

    segmenter = from_released(checkpoint)
    segmenter.save_preset(output)
    content = {"checkpoint": checkpoint, "output": output, "parts": segmenter.num_parts}
    return CommandResult(content, f"Wrote {output}: a segmenter of {segmenter.num_parts} parts")
