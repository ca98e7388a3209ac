"""OpenVINO."""

import tempfile
from pathlib import Path

from keras_parts.exports.formats import METADATA, Format


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

    def load(self, path):
        import openvino

        # In float32 on the CPU, so that results do not depend on the machine.
        compiled = openvino.Core().compile_model(
            str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        return lambda images: {
            port.get_any_name(): value for port, value in compiled([images]).items()
        }

    def metadata(self, path):
        import openvino

        return openvino.Core().read_model(str(path)).get_rt_info(METADATA).astype(str)
