"""TensorFlow's SavedModel."""

from keras_parts.exports.formats import METADATA, Format, Opened


class SavedModel(Format):
    """Runs with `tensorflow.saved_model.load(path).signatures["serving_default"]`. The signature
    "keras_parts" returns the metadata."""

    suffix = "_saved_model"

    def write(self, graph, path, metadata, quantize):
        import tensorflow as tf

        graph.about = tf.function(lambda: {METADATA: tf.constant(metadata)}, input_signature=[])
        signatures = {"serving_default": graph.__call__, METADATA: graph.about}
        tf.saved_model.save(graph, str(path), signatures=signatures)

    def open(self, path):
        import tensorflow as tf

        signatures = tf.saved_model.load(str(path)).signatures
        network, about = signatures["serving_default"], signatures[METADATA]

        def run(images):
            found = network(images=tf.constant(images))
            return {name: value.numpy() for name, value in found.items()}

        return Opened(run, about()[METADATA].numpy().decode("utf-8"))
