"""Makes data/hopper.npz: states of MuJoCo's Hopper and the actions of a policy that hops.

    pip install "gymnasium[mujoco]"
    python -m reproduction.make_hopper

The policy, a clipped linear map of normalised states, is found by random search along the
differences of mirrored trials. It then drives the hopper with some noise added to what is done,
not to what is recorded, so that the imitator sees states beside the policy's path too. The
committed file was made with MuJoCo 4.0.0 and gymnasium 1.4.0; other versions give another,
equally good, file. Takes about three minutes.
"""

from __future__ import annotations

import gymnasium
import numpy as np

from reproduction.sample_sets import COMMITTED, Array, standardised

TRAIN, TEST = 2000, 500


class Normaliser:
    """The running mean and spread of states (11,)."""

    def __init__(self) -> None:
        self.count, self.mean, self.scatter = 1e-4, np.zeros(11), np.full(11, 1e-4)

    def add(self, state: Array) -> None:
        """Take one state (11,) in."""
        self.count += 1
        away = state - self.mean
        self.mean = self.mean + away / self.count
        self.scatter = self.scatter + away * (state - self.mean)

    def __call__(self, state: Array) -> Array:
        """Return the state (11,) in units of its spread."""
        return (state - self.mean) / np.sqrt(self.scatter / self.count + 1e-8)


class Hopper:
    """The simulator, and the normaliser that its states go through."""

    def __init__(self) -> None:
        self.env = gymnasium.make("Hopper-v5")
        self.normalise = Normaliser()

    def travelled(self, weights: Array, seed: int, steps: int = 1000) -> float:
        """Return the reward less one for each step survived, as for a policy (3, 11)."""
        state, _ = self.env.reset(seed=seed)
        total = 0.0
        for _ in range(steps):
            self.normalise.add(state)
            action = np.clip(weights @ self.normalise(state), -1, 1)
            state, reward, fallen, *_ = self.env.step(action)
            total += float(reward) - 1.0
            if fallen:
                break
        return total


def search(hopper: Hopper, rounds: int = 300, trials: int = 8, best: int = 4) -> Array:
    """Return the policy (3, 11) of the round that travelled farthest."""
    rng = np.random.default_rng(0)
    weights, found, farthest = np.zeros((3, 11)), np.zeros((3, 11)), -np.inf
    for round_ in range(rounds):
        steps = rng.standard_normal((trials, 3, 11))
        there = np.array([hopper.travelled(weights + 0.025 * s, round_) for s in steps])
        back = np.array([hopper.travelled(weights - 0.025 * s, round_) for s in steps])
        kept = np.argsort(-np.maximum(there, back))[:best]
        spread = np.std(np.concatenate([there[kept], back[kept]])) + 1e-9
        weights = weights + 0.02 / (best * spread) * np.einsum(
            "n,nij->ij", there[kept] - back[kept], steps[kept]
        )
        if round_ % 10 == 9:
            reached = np.mean([hopper.travelled(weights, 10_000 + one) for one in range(3)])
            print(f"  round {round_ + 1}: {reached:.0f}", flush=True)
            if reached > farthest:
                found, farthest = weights.copy(), float(reached)
    return found


def drive(hopper: Hopper, weights: Array) -> tuple[Array, Array]:
    """Return states (2500, 11) under noise and the policy's actions (2500, 3)."""
    rng = np.random.default_rng(1)
    states: list[Array] = []
    actions: list[Array] = []
    episode = 0
    while len(states) < 4 * (TRAIN + TEST):
        state, _ = hopper.env.reset(seed=1000 + episode)
        episode += 1
        for step in range(400):
            action = np.clip(weights @ hopper.normalise(state), -1, 1)
            if step % 4 == 0:
                states.append(state)
                actions.append(action)
            state, _, fallen, *_ = hopper.env.step(
                np.clip(action + 0.1 * rng.standard_normal(3), -1, 1)
            )
            if fallen:
                break
    order = np.random.default_rng(2).permutation(len(states))[: TRAIN + TEST]
    return np.array(states)[order], np.array(actions)[order]


def main() -> None:
    """Make the file."""
    hopper = Hopper()
    states, actions = drive(hopper, search(hopper))
    standardised(states, actions, TRAIN).save(COMMITTED / "hopper.npz")
    print(f"  correlations of actions: {np.corrcoef(actions.T).round(2).tolist()}")


if __name__ == "__main__":
    main()
