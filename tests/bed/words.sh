# How the stories are told: each line with its time since the beginning. Sourced by bash scripts.
# shellcheck shell=bash

now_ms() { date +%s%3N; }
START=$(now_ms)
# say_at MS WORD...: at a moment of Unix time in ms. say WORD...: now.
say_at() {
    local at=$1
    shift
    printf '%7.1f s  %s\n' "$((at - START))e-3" "$*"
}
say() { say_at "$(now_ms)" "$*"; }
title() { printf '\n           \033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || title() { printf '\n           %s\n' "$*"; }
