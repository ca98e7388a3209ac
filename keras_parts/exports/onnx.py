"""ONNX."""

from pathlib import Path
from typing import Any

import numpy as np

from keras_parts.environment import forbid_reports
from keras_parts.exports.formats import INPUT, METADATA, OUTPUTS, Format, Opened

OPSET = 17
_MIN_VALUES = 1024
"""Arrays of fewer weights are not quantised: they save too little."""


class Onnx(Format):
    """Runs with onnxruntime. The metadata is a custom property."""

    suffix = ".onnx"
    packages = {"tf2onnx": "tf2onnx", "onnx": "onnx", "onnxruntime": "onnxruntime"}
    runtime = "onnxruntime"
    quantized = "weights of convolutions as int8 with one scale per channel"

    def write(self, graph, path, metadata, quantize):
        import onnx
        import tf2onnx

        signature = graph.__call__.input_signature
        model, _ = tf2onnx.convert.from_function(graph.__call__, signature, opset=OPSET)
        names = {value.name for value in model.graph.output}
        if names != set(OUTPUTS) or model.graph.input[0].name != INPUT:
            _rename(model.graph)
        if quantize:
            _quantize(model.graph)
        model.metadata_props.append(onnx.StringStringEntryProto(key=METADATA, value=metadata))
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString())

    def open(self, path):
        session = new_session(path)

        def run(images):
            return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {INPUT: images}), strict=True))

        return Opened(run, session_metadata(session))

    def metadata(self, path):
        forbid_reports()
        import onnxruntime

        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # nothing will be computed
        return session_metadata(new_session(path, graph_optimization_level=level))


def new_session(path: Path, **options: Any) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU, with attributes of its `SessionOptions`."""
    forbid_reports()
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    # Idle threads would otherwise use a core each, which decoding and writing need.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for name, value in options.items():
        setattr(settings, name, value)
    return onnxruntime.InferenceSession(str(path), settings, ["CPUExecutionProvider"])


def session_metadata(session: Any) -> str:
    """The metadata of the package in a session's model, JSON."""
    return session.get_modelmeta().custom_metadata_map[METADATA]


def _rename(graph):
    """Name the input and the outputs of a graph; labels are the output with three axes."""
    names = {graph.input[0].name: INPUT}
    for value in graph.output:
        axes = len(value.type.tensor_type.shape.dim)
        names[value.name] = "labels" if axes == 3 else "probabilities"
    for value in (*graph.input, *graph.output):
        value.name = names[value.name]
    for node in graph.node:
        for fields in (node.input, node.output):
            for index, name in enumerate(fields):
                fields[index] = names.get(name, name)


def _quantize(graph):
    """Store the weights of convolutions as int8, with one scale per output channel."""
    from onnx import helper, numpy_helper

    used = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    added = []
    for stored in [each for each in graph.initializer if each.name in used]:
        weights = numpy_helper.to_array(stored)
        if weights.size < _MIN_VALUES:
            continue
        scale = np.abs(weights).max(axis=tuple(range(1, weights.ndim))) / 127
        scale = np.where(scale == 0, 1, scale).astype(np.float32)
        small = np.rint(weights / scale.reshape(-1, *[1] * (weights.ndim - 1))).astype(np.int8)
        name, zeros = stored.name, np.zeros(len(scale), np.int8)
        parts = {"int8": small, "scale": scale, "zero": zeros}
        graph.initializer.remove(stored)
        graph.initializer.extend(
            numpy_helper.from_array(value, f"{name}/{part}") for part, value in parts.items()
        )
        inputs = [f"{name}/{part}" for part in parts]
        added.append(helper.make_node("DequantizeLinear", inputs, [name], axis=0))
    for node in reversed(added):
        graph.node.insert(0, node)
