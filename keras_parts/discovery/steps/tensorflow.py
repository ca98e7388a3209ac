"""The training step on TensorFlow, on one device or as one of several replicas."""

from typing import Any

import tensorflow as tf

from keras_parts.discovery.steps.base import NamedLosses, all_finite, nan_unless
from keras_parts.keras_private import OptimizerBuild, take_summed_gradients


class TrainStep(OptimizerBuild, NamedLosses):
    """Training step of a model with named losses, in graph mode or under XLA.

    Under a `tf.distribute` strategy each replica computes on an equal share of the batch. The
    gradients are summed over the replicas before they are clipped, as on one device. Keras would
    clip those of each replica first.
    """

    def train_step(self, data: Any) -> dict[str, Any]:
        batch = self.unpack_batch(data)
        with tf.GradientTape() as tape:
            losses, total, updates = self._run_losses(batch, training=True)
            # The mean over the whole batch is the mean of the replicas' losses.
            scaled = self.optimizer.scale_loss(total / self._replicas)
        gradients = tape.gradient(scaled, self.trainable_variables)
        summed_total, gradients = self._summed(total, gradients)
        finite = all_finite(summed_total, gradients)
        updates.apply_if(finite)
        self._apply(gradients, finite)
        self._update_metrics(losses, total, finite, batch)
        return self._logs()

    def _logs(self):
        """The averages so far, in the shape in which Keras combines those of all replicas."""
        results = self.get_metrics_result()
        if not isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
            return results
        # Over several hosts Keras averages along the first axis, which a scalar does not have.
        return {name: value[None] for name, value in results.items()}

    def _summed(self, total, gradients):
        """Loss and gradients summed over the replicas, in one exchange."""
        if self._replicas == 1:
            return total, gradients
        present = [gradient for gradient in gradients if gradient is not None]
        summed = iter(tf.distribute.get_replica_context().all_reduce("SUM", [total, *present]))
        total = next(summed)
        return total, [None if gradient is None else next(summed) for gradient in gradients]

    def _apply(self, gradients, finite):
        take_summed_gradients(self.optimizer)
        if self._scales_loss:
            self.optimizer.apply(nan_unless(finite, gradients), self.trainable_variables)
        else:
            tf.distribute.get_replica_context().merge_call(
                self._apply_if_finite, args=(gradients, finite)
            )

    def _apply_if_finite(self, strategy, gradients, finite):
        # The optimizer synchronises the replicas, so all of them must take the branch together.
        def update():
            strategy.extended.call_for_each_replica(
                self.optimizer.apply, args=(gradients, self.trainable_variables)
            )
            return True

        tf.cond(strategy.experimental_local_results(finite)[0], update, lambda: False)

    @property
    def _replicas(self):  # type: ignore[override]
        return tf.distribute.get_strategy().num_replicas_in_sync
