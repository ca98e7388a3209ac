"""Write the graphs with which ONNX Runtime runs the models of the package, beside their weights.

Run it after an entry of the zoo was packed anew. It needs the packages onnx, onnxruntime and h5py,
but not Keras: the graph is built from the arrays of the weights file, and kept if it computes the
logits of the golden pair. `keras_parts/exports/network.py` describes it.

    python scripts/write_networks.py
    python scripts/write_networks.py cub toy
"""

import json
import sys
from itertools import count

import h5py
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from keras_parts.exports.formats import INPUT, METADATA
from keras_parts.exports.network import NETWORK_FILE, OUTPUT
from keras_parts.exports.onnx import new_session
from keras_parts.files import atomic_path, file_sha256
from keras_parts.models.saved_config import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    read_saved_config,
)
from keras_parts.zoo.cards import GOLDEN_FILE
from keras_parts.zoo.registry import PACKAGED

_OPSET = 18
_EPSILON = 1e-3
_TOLERANCE = 1e-3
"""Maximum difference of a logit of the golden pair; logits are of the order of 10."""
_LAYOUTS = {("efficientnet_lite0", 4), ("small", 8)}
"""The architectures and output strides whose graph can be written."""
_BLOCK_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1)
"""Strides of the blocks of EfficientNet-Lite0; the other numbers are those of the arrays."""


class Graph:
    """A graph that grows by one operation at a time; maps are `(batch, channels, h, w)`.

    Args:
        weights: the weights file, open.
        size: side of the input in pixels.
    """

    def __init__(self, weights, size):
        self.weights, self.nodes, self.initializers = weights, [], []
        self.sides, self.channels, self.used = {INPUT: size}, {INPUT: 3}, set()
        self._numbers, self._layers = count(), {}

    def add(self, kind, *inputs, **attributes):
        """Add an operation on values and return the name of its result."""
        name = f"{kind}_{next(self._numbers)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        self.sides[name] = self.sides.get(inputs[0])
        self.channels[name] = self.channels.get(inputs[0])
        return name

    def constant(self, values, dtype=np.float32):
        name = f"constant_{next(self._numbers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def stored(self, name):
        """An array of the weights file, in float32."""
        array = self.weights[name]
        self.used.add(name.partition("/vars/")[0])
        offset = array.id.get_offset()
        if offset is None or array.dtype not in (np.float16, np.float32):
            raise SystemExit(f"{WEIGHTS_FILE}: {name} is not an array of floats in one piece")
        is_half = array.dtype == np.float16
        tensor = TensorProto(
            name=name,
            data_type=TensorProto.FLOAT16 if is_half else TensorProto.FLOAT,
            dims=array.shape,
            data_location=TensorProto.EXTERNAL,
        )
        place = {"location": WEIGHTS_FILE, "offset": offset, "length": array.nbytes}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self.initializers.append(tensor)
        return self.add("Cast", name, to=TensorProto.FLOAT) if is_half else name

    def layer(self, container, kind):
        """The name of the next layer of a kind in a container, as Keras numbers them."""
        number = self._layers.get((container, kind), 0)
        self._layers[container, kind] = number + 1
        return f"{container}/{kind}_{number}" if number else f"{container}/{kind}"

    def convolve(self, x, name, *, depthwise=False, stride=1, dilation=1):
        """A convolution with the padding "same", and its bias if it has one."""
        shape = self.weights[f"{name}/vars/0"].shape
        kernel = self.stored(f"{name}/vars/0")
        kernel = self.add("Transpose", kernel, perm=(2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
        inputs = [x, kernel]
        if f"{name}/vars/1" in self.weights:
            inputs.append(self.stored(f"{name}/vars/1"))
        side = -(-self.sides[x] // stride)
        missing = max((side - 1) * stride + (shape[0] - 1) * dilation + 1 - self.sides[x], 0)
        before = [missing // 2] * 2
        y = self.add(
            "Conv",
            *inputs,
            kernel_shape=shape[:2],
            strides=[stride] * 2,
            dilations=[dilation] * 2,
            pads=[*before, *(missing - each for each in before)],
            group=shape[2] if depthwise else 1,
        )
        self.sides[y], self.channels[y] = side, shape[2] if depthwise else shape[3]
        return y

    def normalise(self, x, container):
        name = self.layer(container, "batch_normalization")
        statistics = [self.stored(f"{name}/vars/{index}") for index in range(4)]
        return self.add("BatchNormalization", x, *statistics, epsilon=_EPSILON)

    def resize(self, x, side):
        """Bilinear resampling with aligned corners."""
        if self.sides[x] == side:
            return x
        resized = self.add(
            "Resize",
            *(x, "", "", self.constant([side, side], np.int64)),
            axes=[2, 3],
            mode="linear",
            coordinate_transformation_mode="align_corners",
        )
        self.sides[resized] = side
        return resized

    def standardise(self, x):
        """Mean 0 and variance 1 over the channels of each position."""
        axis = self.constant([1], np.int64)
        centred = self.add("Sub", x, self.add("ReduceMean", x, axis))
        variance = self.add("ReduceMean", self.add("Mul", centred, centred), axis)
        deviation = self.add("Sqrt", self.add("Add", variance, self.constant(_EPSILON)))
        return self.add("Div", centred, deviation)

    def network(self, config):
        """All operations, from the images to the logits."""
        settings = config["preprocessing"]
        layout = (config["architecture"], config["output_stride"])
        if layout not in _LAYOUTS:
            raise SystemExit(f"{layout[0]} with the output stride {layout[1]} has no graph")
        if settings["channel_order"] != "RGB" or config.get("joined"):
            raise SystemExit("networks with BGR inputs or joined parts have no graph")
        std = np.asarray(settings["std"])
        x = self.add("Transpose", self.add("Cast", INPUT, to=TensorProto.FLOAT), perm=(0, 3, 1, 2))
        scale = (settings["multiplier"] / 255 / std).reshape(-1, 1, 1)
        offset = (np.asarray(settings["mean"]) / std).reshape(-1, 1, 1)
        x = self.add("Sub", self.add("Mul", x, self.constant(scale)), self.constant(offset))
        levels = {"efficientnet_lite0": lite0, "small": small}[layout[0]](self, x)
        return self.add("Transpose", head(self, levels), perm=(0, 2, 3, 1))


def lite0(graph, x):
    """EfficientNet-Lite0 of the stride 16: the maps of each stride, the coarsest first."""
    container, clip = "backbone/layers", (graph.constant(0), graph.constant(6))

    def step(x, kind, *, activate=True, **options):
        depthwise = kind == "depthwise_conv2d"
        x = graph.convolve(x, graph.layer(container, kind), depthwise=depthwise, **options)
        x = graph.normalise(x, container)
        return graph.add("Clip", x, *clip) if activate else x

    x = step(x, "conv2d", stride=2)
    reached, dilation, maps = 2, 1, []
    for index, stride in enumerate(_BLOCK_STRIDES):
        shortcut, options = x, {"stride": stride, "dilation": dilation}
        if reached * stride > 16:
            options["stride"], dilation = 1, dilation * stride
        else:
            reached *= stride
        x = step(x, "conv2d") if index else x
        x = step(x, "depthwise_conv2d", **options)
        x = step(x, "conv2d", activate=False)
        if options["stride"] == 1 and graph.channels[x] == graph.channels[shortcut]:
            x = graph.add("Add", x, shortcut)
        maps.append(x)
    return [[maps[10], maps[14]], [maps[4]], [maps[2]]]


def small(graph, x):
    """The network `small`: the maps that its head joins."""
    container, maps = "backbone/layers", []

    def step(x, **options):
        x = graph.convolve(x, graph.layer(container, "conv2d"), **options)
        return graph.add("Relu", graph.normalise(x, container))

    for _ in range(4):
        x = step(x, stride=2)
        x = graph.add("Add", x, step(x))
        maps.append(x)
    return [maps[2:]]


def fusion(graph, maps, container, *, normalise):
    """`keras_parts.models.heads.Fusion`."""
    side = max(graph.sides[each] for each in maps)
    projected = []
    for each in maps:
        each = graph.standardise(each) if normalise else each
        each = graph.convolve(each, graph.layer(f"{container}/projections", "conv2d"))
        projected.append(graph.resize(each, side))
    x = projected[0]
    for each in projected[1:]:
        x = graph.add("Add", x, each)
    x = graph.add("Relu", x)
    for _ in range(2):
        spatial = graph.layer(f"{container}/spatial", "depthwise_conv2d")
        y = graph.add("Relu", graph.convolve(x, spatial, depthwise=True))
        y = graph.convolve(y, graph.layer(f"{container}/pointwise", "conv2d"))
        x = graph.add("Relu", graph.add("Add", x, y))
    return x


def head(graph, levels):
    """`FusionHead`, or `DecoderHead` for several levels, and the background's logit."""
    coarsest, *finer = levels
    x = fusion(graph, coarsest, "head", normalise=False)
    logits = graph.convolve(x, "head/logits")
    for maps in finer:
        container = graph.layer("head/finer", "fusion")
        x = fusion(graph, [*maps, x], container, normalise=True)
    logits = graph.resize(logits, graph.sides[x])
    first, second, last = (graph.constant([number], np.int64) for number in (0, 1, 10_000))
    channels = graph.constant([1], np.int64)
    foreground = graph.add("Slice", logits, first, second, channels)
    parts = graph.add("Slice", logits, second, last, channels)
    if finer:
        foreground = graph.add("Add", foreground, graph.convolve(x, "head/corrections"))
    background = graph.add("Sub", graph.add("ReduceLogSumExp", parts, channels), foreground)
    return graph.add("Concat", background, parts, axis=1)


def model_of(folder, size):
    """The ONNX model of a segmenter for inputs of a size, without metadata."""
    config = read_saved_config(folder)
    with h5py.File(folder / WEIGHTS_FILE) as weights:
        graph = Graph(weights, size)
        result = graph.network(config)
        side = graph.sides[result]
        unused = layers_of(weights) - graph.used
    if unused:
        raise SystemExit(f"{folder}: the graph does not use {', '.join(sorted(unused))}")
    graph.nodes.append(helper.make_node("Identity", [result], [OUTPUT]))
    image = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", size, size, 3])
    shape = ["batch", side, side, 1 + config["num_parts"]]
    output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape)
    found = helper.make_graph(graph.nodes, "network", [image], [output], graph.initializers)
    return helper.make_model(found, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)


def layers_of(weights):
    """The layers of a weights file that have arrays."""
    found = set()
    weights.visit(lambda name: found.add(name.partition("/vars/")[0]) if "/vars/" in name else None)
    return found


def about(folder):
    """The metadata of the graph of a segmenter."""
    config = read_saved_config(folder)
    return {
        "files": {name: file_sha256(folder / name) for name in (CONFIG_FILE, WEIGHTS_FILE)},
        "network": {name: config[name] for name in ("image_size", "resize_mode")},
    }


def compute(model, folder, images):
    """The logits that ONNX Runtime computes with a model of the weights in a folder."""
    path = folder / f"unfinished_{NETWORK_FILE}"
    path.write_bytes(model.SerializeToString())
    try:
        return new_session(path).run([OUTPUT], {INPUT: images})[0]
    finally:
        path.unlink()


def check(folder):
    """Compare the logits of the golden image with those that Keras computed."""
    with h5py.File(folder / GOLDEN_FILE) as golden:
        pixels = golden["pixels"][()] if "pixels" in golden else golden["image"][()] * 255
        expected = golden["logits"][()]
    images = np.rint(pixels).astype(np.uint8)
    found = compute(model_of(folder, images.shape[1]), folder, images)
    difference = float(np.abs(found - expected).max())
    if not difference <= _TOLERANCE:
        raise SystemExit(f"{folder}: logits differ from the golden pair by up to {difference:.2g}")
    return difference


def main(names):
    for name in names or sorted(path.name for path in PACKAGED.iterdir() if path.is_dir()):
        folder = PACKAGED / name
        difference = check(folder)
        model = model_of(folder, read_saved_config(folder)["image_size"])
        model.metadata_props.add(key=METADATA, value=json.dumps(about(folder)))
        with atomic_path(folder / NETWORK_FILE) as path:
            path.write_bytes(model.SerializeToString())
        size = (folder / NETWORK_FILE).stat().st_size
        print(f"{name}: {size:,} bytes, logits differ by up to {difference:.2g}")


if __name__ == "__main__":
    main(sys.argv[1:])
