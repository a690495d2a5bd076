"""Exercises of a chapter."""

from transformer_lib.exercises.exercise import Exercise

EXERCISES: tuple[Exercise, ...] = ()
