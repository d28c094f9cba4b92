"""Which tensors of a Stable-Baselines3 policy are the actor, told by their names alone."""

from __future__ import annotations

from collections.abc import Iterable

_ACTORS = (
    ("mlp_extractor.shared_net", "mlp_extractor.policy_net", "action_net"),
    ("mlp_extractor.shared_net", "action_net"),
    ("mlp_extractor.policy_net", "action_net"),
    ("action_net",),
    ("actor.latent_pi", "actor.mu"),
    ("actor.mu",),
    ("q_net.q_net",),
    ("quantile_net.quantile_net",),
)
"""The parts that act, one after the other; the first of which all are there counts."""

_BESIDE = ("value_net", "mlp_extractor.value_net", "critic", "q_net_target", "quantile_net_target")
"""What stands beside them: one of these shows that it is such a policy."""

_BEFORE = ("features_extractor", "actor.features_extractor", "lstm_actor")
"""What may come before the actor's layers: then these are no network by themselves."""

_SQUASHED = {"actor.latent_pi,actor.mu", "actor.mu"}
"""Actors whose output the policy puts through a tanh, which no weight tells."""


def actor_of(names: Iterable[str]) -> str | None:
    """Return the `--state-key` of the actor among the names of a policy, or None.

    >>> actor_of(["actor.mu.0.weight", "critic.qf0.0.weight"])
    'actor.mu'
    >>> actor_of(["actor.mu.0.weight"])
    """
    names = list(names)

    def there(part: str) -> bool:
        return any(name.startswith(f"{part}.") for name in names)

    if not any(map(there, _BESIDE)) or any(map(there, _BEFORE)):
        return None
    return next((",".join(parts) for parts in _ACTORS if all(map(there, parts))), None)


def squashed_note(state_key: str | None, names: Iterable[str]) -> str | None:
    """Return what to say where a chosen actor acts through a tanh that is not among its weights.

    Args:
        state_key: as the user chose it.
        names: of the whole policy.
    """
    if state_key not in _SQUASHED or state_key != actor_of(names):
        return None
    return (
        f"{state_key}: Stable-Baselines3 puts a tanh after this actor's output, which is no weight:"
        " predictions are what comes before it, unless the factory of --model has it"
    )
