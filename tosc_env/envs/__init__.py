"""Thin adapters over :class:`~tosc_env.envs.session.Session`: Gymnasium, its vector form, and PettingZoo's two."""
