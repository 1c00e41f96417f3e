"""A campaign on disk."""

from study.campaign.store import Campaign

__all__ = ["Campaign"]
