"""Calls to endpoints that others name: only where they may lead, within a time, with a bounded answer."""
