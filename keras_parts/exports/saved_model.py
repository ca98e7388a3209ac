"""TensorFlow's SavedModel."""

from keras_parts.exports.formats import METADATA, Format


class SavedModel(Format):
    """Runs with `tensorflow.saved_model.load(path).signatures["serving_default"]`. The signature
    "keras_parts" returns the metadata."""

    suffix = "_saved_model"

    def write(self, graph, path, metadata, quantize):
        import tensorflow as tf

        graph.about = tf.function(lambda: {METADATA: tf.constant(metadata)}, input_signature=[])
        signatures = {"serving_default": graph.__call__, METADATA: graph.about}
        tf.saved_model.save(graph, str(path), signatures=signatures)

    def load(self, path):
        import tensorflow as tf

        run = tf.saved_model.load(str(path)).signatures["serving_default"]
        return lambda images: {
            name: value.numpy() for name, value in run(images=tf.constant(images)).items()
        }

    def metadata(self, path):
        import tensorflow as tf

        about = tf.saved_model.load(str(path)).signatures[METADATA]
        return about()[METADATA].numpy().decode("utf-8")
