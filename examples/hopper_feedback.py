"""A track of one's own with MuJoCo's Hopper, whose reward is known by answers.

    pip install 'valuegym[agents,control]'
    valuegym run --agent preference_sac --experiment examples/hopper_feedback.py:TRACK --set segment_length=50
    valuegym run --agent sac --experiment examples/hopper_feedback.py:TRACK

Score 0 is the mean return of uniformly random actions over 2,000 episodes, 1 a return of 3,000, about what soft
actor-critic reaches after a million steps (Haarnoja et al. 2018); 10,000 steps are a hundredth of that.
"""

from valuegym import Experiment

TRACK = Experiment(
    id="own/hopper-feedback",
    about="Hop forward; the reward is known by answers.",
    env_id="Hopper-v5",
    agents=("uniform", "preference_sac", "sac"),
    timesteps=10_000,
    episodes=5,
    seeds=(0, 1, 2),
    tags=("feedback", "control"),
    references=(17.5, 3000.0),
    deterministic=True,
)
