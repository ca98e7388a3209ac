"""OpenVINO."""

import tempfile
from pathlib import Path

from keras_parts.exports.formats import METADATA, Format, Opened


class OpenVino(Format):
    """Runs with openvino, from `NAME.xml` and `NAME.bin`. The metadata is in the model's runtime
    information."""

    suffix = ".xml"
    packages = {"openvino": "openvino"}
    runtime = "openvino"
    quantized = "weights as float16"
    exact = False

    def write(self, graph, path, metadata, quantize):
        import openvino

        from keras_parts.exports.graph import frozen

        with tempfile.TemporaryDirectory() as folder:
            definition = frozen(graph).graph.as_graph_def()
            Path(folder, "frozen.pb").write_bytes(definition.SerializeToString())
            # Not `openvino.convert_model`, which reports each conversion to its makers.
            model = openvino.Core().read_model(str(Path(folder, "frozen.pb")))
            for port in model.outputs:
                name = "labels" if len(port.get_partial_shape()) == 3 else "probabilities"
                port.get_tensor().set_names({name})
            model.set_rt_info(metadata, METADATA)
            openvino.save_model(model, str(path), compress_to_fp16=quantize)

    def open(self, path):
        import openvino

        model = openvino.Core().read_model(str(path))
        # In float32 on the CPU, so that results do not depend on the machine.
        compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

        def run(images):
            return {port.get_any_name(): value for port, value in compiled([images]).items()}

        return Opened(run, _metadata(model))

    def metadata(self, path):
        import openvino

        return _metadata(openvino.Core().read_model(str(path)))


def _metadata(model):
    return model.get_rt_info(METADATA).astype(str)
