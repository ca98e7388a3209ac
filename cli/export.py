"""keras-parts export"""

import click

from keras_parts.cli.options import CommandResult, model_name, output_options
from keras_parts.cli.runtime import import_keras, select_backend


@click.command()
@click.option("--model", required=True, help="A name of `zoo list`, or the folder of a run.")
@click.option(
    "--format",
    "format_",
    required=True,
    type=click.Choice(["saved_model", "onnx", "litert", "openvino"]),
    help="Format of the export.",
)
@click.option(
    "--output",
    "-o",
    metavar="PATH",
    help="What to write [default: named after the model].",
)
@click.option("--quantize", is_flag=True, help="Store the weights in fewer bits.")
@click.option(
    "--check", "pictures", multiple=True, metavar="FILE", help="Compare on this; repeatable."
)
@output_options
def export(model, format_, output, quantize, pictures, quiet):
    """Write a segmenter for ONNX, LiteRT, OpenVINO or as a SavedModel.

    The export takes images (uint8 RGB, of any size) and gives labels and probabilities at their
    pixels. It contains the resizing of images, the names and colours of the parts, and the licence.
    It is compared with the Keras model, on drawn pictures or on those of --check, and is not
    written if the two differ. Needs TensorFlow, and the package of the format's runtime.
    """
    select_backend("tensorflow")
    from keras_parts.exports import FORMATS
    from keras_parts.exports import export as write
    from keras_parts.images.decoding import read_image

    FORMATS[format_].require(format_)
    images = [read_image(picture) for picture in pictures]
    import_keras()
    from keras_parts import zoo

    name = model_name(model)
    result = write(
        zoo.load(model),
        format_,
        output or name.rpartition("/")[2] + FORMATS[format_].suffix,
        quantize=quantize,
        name=name,
        licence=_licence(model),
        images=images or None,
    )
    return CommandResult(result.to_json(), _text(result))


def _licence(model):
    """Of the weights, from the card of a model of the zoo; "" where there is no card."""
    from keras_parts import zoo
    from keras_parts.errors import KerasPartsError

    try:
        return zoo.info(model).licences.weights
    except KerasPartsError:
        return ""


def _text(result):
    weights = f", {result.quantized}" if result.quantized else ""
    return (
        f"Wrote {result.path}: {result.size / 1e6:.2f} MB{weights} "
        f"({result.share:.0%} of the float32 weights).\n"
        f"Compared with the Keras model: probabilities differ by at most {result.difference:.2g}, "
        f"{result.disagreement:.3%} of the pixels have another label."
    )
