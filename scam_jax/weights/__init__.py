"""Pretrained weights: conversion from PyTorch, and the frozen networks as files."""
