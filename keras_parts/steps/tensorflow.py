"""The training step on TensorFlow."""

import keras
import tensorflow as tf

from keras_parts.steps.base import NamedLosses, all_finite, mark


class TrainStep(NamedLosses):
    """Training step of a model of named losses on TensorFlow, in graph mode or under XLA."""

    def train_step(self, data):
        batch, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)  # no variable may be born inside a cond
        with tf.GradientTape() as tape:
            losses, total, updates = self._run_losses(batch, training=True)
            # Replicas add their gradients up, each is one part of the mean over the whole batch.
            scaled = self.optimizer.scale_loss(total / self._replicas)
        gradients = tape.gradient(scaled, self.trainable_variables)
        finite = self._on_all_replicas(all_finite(total, gradients))
        updates.release(finite)
        self._apply(gradients, finite)
        self._update_metrics(losses, total, finite, batch)
        return self.get_metrics_result()

    def _apply(self, gradients, finite):
        if self._scales_loss:
            self.optimizer.apply(mark(gradients, finite), self.trainable_variables)
        else:
            tf.distribute.get_replica_context().merge_call(
                self._apply_if_finite, args=(gradients, finite)
            )

    def _apply_if_finite(self, strategy, gradients, finite):
        # Replicas meet inside the optimizer, so they have to go into the branch together.
        def update():
            strategy.extended.call_for_each_replica(
                self.optimizer.apply, args=(gradients, self.trainable_variables)
            )
            return True

        tf.cond(strategy.experimental_local_results(finite)[0], update, lambda: False)

    def _on_all_replicas(self, finite):
        if self._replicas == 1:
            return finite
        spoilt = tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, 1.0 - tf.cast(finite, tf.float32)
        )
        return tf.equal(spoilt, 0.0)

    @property
    def _replicas(self):
        return tf.distribute.get_strategy().num_replicas_in_sync
