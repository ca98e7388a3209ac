"""The training step on TensorFlow, on one device or as one of several replicas."""

import keras
import tensorflow as tf

from keras_parts.discovery.steps.base import NamedLosses, all_finite, mark


class TrainStep(NamedLosses):
    """Training step of a model of named losses on TensorFlow, in graph mode or under XLA.

    Under a strategy every replica computes on its rows of the batch, as many as the others. The
    gradients are summed before anything is done with them: Keras would clip those of each replica
    by itself, which is another step than that of one device.
    """

    def train_step(self, data):
        batch, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            losses, total, updates = self._run_losses(batch, training=True)
            # Each replica's loss is one part of the mean over the whole batch.
            scaled = self.optimizer.scale_loss(total / self._replicas)
        gradients = tape.gradient(scaled, self.trainable_variables)
        whole, gradients = self._summed(total, gradients)
        finite = all_finite(whole, gradients)
        updates.release(finite)
        self._apply(gradients, finite)
        self._update_metrics(losses, total, finite, batch)
        return self._logs()

    def _logs(self):
        """The averages so far, as Keras is able to bring them together."""
        results = self.get_metrics_result()
        if not isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
            return results
        # Over several hosts it takes means along the first axis, which scalars have not.
        return {name: value[None] for name, value in results.items()}

    def _summed(self, total, gradients):
        """Loss and gradients, added up over the replicas in one exchange."""
        if self._replicas == 1:
            return total, gradients
        known = [gradient for gradient in gradients if gradient is not None]
        summed = iter(tf.distribute.get_replica_context().all_reduce("SUM", [total, *known]))
        total = next(summed)
        return total, [None if gradient is None else next(summed) for gradient in gradients]

    def _apply(self, gradients, finite):
        # The optimizer must take them as they are, instead of adding them up once more.
        inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        object.__setattr__(inner, "_all_reduce_sum_gradients", list)
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

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Only the optimizer is to be built here, before the step is traced: no variable may be
        born inside a cond. To look at shapes, Keras would take the mean of a batch over the
        replicas, which fails for a dict where there are several hosts."""
        if self.optimizer is not None and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)

    @property
    def _replicas(self):
        return tf.distribute.get_strategy().num_replicas_in_sync
