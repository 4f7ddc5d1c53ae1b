"""Delivery: releases that are judged by evidence, and undone by themselves."""
