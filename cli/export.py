"""keras-parts export"""

import click

from keras_parts.cli.choosing import choose_model, model_options, say_loading
from keras_parts.cli.options import Choice, CommandResult, examples, model_name, output_options
from keras_parts.cli.runtime import import_keras, select_backend


@click.command(
    epilog=examples(
        "export --model runs/mine --format onnx",
        "export --of birds --format litert --quantize --output birds.tflite",
    )
)
@model_options
@click.option(
    "--format",
    "format_",
    required=True,
    type=Choice(["saved_model", "onnx", "litert", "openvino"]),
    help="Format of the export.",
)
@click.option(
    "--output",
    "-o",
    metavar="PATH",
    help="File or folder to write [default: named after the model, in the current folder].",
)
@click.option("--quantize", is_flag=True, help="Store the weights in fewer bits.")
@click.option(
    "--check",
    "image_files",
    multiple=True,
    metavar="FILE",
    help="Image to compare on; repeatable [default: drawn animals].",
)
@output_options
def export(model, of, trust, format_, output, quantize, image_files, quiet):
    """Export a segmenter to ONNX, LiteRT, OpenVINO or a SavedModel.

    The export computes labels and probabilities at the pixels of images (uint8 RGB, of any size).
    It includes the resizing of images, the names and colours of the parts, and the licence. It sees
    each image once, as `segment --looks 1`. It is compared with the Keras model, and is not written
    if the two differ. TensorFlow and the package of the format's runtime must be installed.
    """
    select_backend("tensorflow")
    from keras_parts.exports import FORMATS
    from keras_parts.exports import export as write
    from keras_parts.images.decoding import read_image

    model = choose_model(model, of, trust=trust, quiet=quiet)
    FORMATS[format_].require(format_)
    images = [read_image(file) for file in image_files]
    say_loading(model, quiet=quiet)
    import_keras()
    from keras_parts import zoo

    name = model_name(model)
    result = write(
        zoo.load(model, trust=trust),
        format_,
        output or name.rstrip("/").rpartition("/")[2] + FORMATS[format_].suffix,
        quantize=quantize,
        name=name,
        licence=_licence(model, trust),
        images=images or None,
    )
    return CommandResult(result.to_json(), _text(result))


def _licence(model, trust):
    """The terms of weights and data, of the model's card or run; "" if it has neither."""
    from keras_parts import zoo
    from keras_parts.zoo.terms import licences_of

    found = licences_of(zoo.path(model, trust=trust))
    return str(found[1]) if found else ""


def _text(result):
    weights = f", {result.quantized}" if result.quantized else ""
    return (
        f"Wrote {result.path}: {result.size / 1e6:.2f} MB{weights} "
        f"({result.share:.0%} of the float32 weights).\n"
        "It sees each image once, as `segment --looks 1`. "
        f"Compared with the Keras model, probabilities differ by at most {result.difference:.2g}, "
        f"and {result.disagreement:.3%} of the pixels have another label."
    )
