#!/usr/bin/env bash
exec sleep 1000
