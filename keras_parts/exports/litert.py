"""LiteRT, formerly TensorFlow Lite."""

import warnings

from keras_parts.exports.formats import METADATA, Format, Opened


class LiteRt(Format):
    """Runs with the interpreter of ai_edge_litert, after `resize_tensor_input` to the images'
    shape. The metadata is a metadata buffer."""

    suffix = ".tflite"
    packages = {"ai_edge_litert": "ai-edge-litert"}
    runtime = "ai_edge_litert"
    quantized = "weights as int8"
    exact = False

    def write(self, graph, path, metadata, quantize):
        import tensorflow as tf

        from keras_parts.exports.graph import frozen

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converter warns of its new name
            converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen(graph)])
            if quantize:
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            path.write_bytes(_with_metadata(converter.convert(), metadata))

    def open(self, path):
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path))
        input_index = interpreter.get_input_details()[0]["index"]

        def run(images):
            interpreter.resize_tensor_input(input_index, images.shape)
            interpreter.allocate_tensors()
            interpreter.set_tensor(input_index, images)
            interpreter.invoke()
            # The converter loses the outputs' names: labels have three axes, probabilities four.
            outputs = (
                interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()
            )
            return {"labels" if array.ndim == 3 else "probabilities": array for array in outputs}

        return Opened(run, self.metadata(path))

    def metadata(self, path):
        from tensorflow.lite.tools import flatbuffer_utils

        model = flatbuffer_utils.read_model(str(path))
        for entry in model.metadata:
            if entry.name in (METADATA, METADATA.encode()):
                return bytes(model.buffers[entry.buffer].data).decode("utf-8")
        raise KeyError(METADATA)


def _with_metadata(content, metadata):
    """The bytes of a model with the metadata added, and its open sides declared."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(content)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            _declare_open_sides(tensor)
    buffer = schema.BufferT()
    buffer.data = list(metadata.encode("utf-8"))
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = METADATA, len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _declare_open_sides(tensor):
    """Write open sides as -1 into the signature and as 1 into the shape. The converter omits this
    where it replaces einsum by reshapes, and the interpreter would refuse the file."""
    if tensor.shape is not None and any(side < 0 for side in tensor.shape):
        tensor.shapeSignature = list(tensor.shape)
        tensor.shape = [max(1, side) for side in tensor.shape]
