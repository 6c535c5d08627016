"""Helpers that tests share, one module per topic; nothing in here is collected as a test."""
