#!/bin/sh
# The attacks behind attackers.md and bits.svg: every attacker with its default settings against the zoo's systems at 12 dB, and where CIFAR-10
# would take days on two cores, with the steps that a line names. One thread each; resumable; needs CIFAR-10 under $TOSC_DATA_DIR.
set -eu
export OMP_NUM_THREADS=1
ZOO=agents/tosc_agents/zoo/weights
attack() { # name, weights, further options
  name=$1 weights=$2
  shift 2
  [ -f "runs/attacks/$name/results.md" ] ||
    tosc attack "$ZOO/$weights.safetensors" --all --snr-db 12 --no-ssim --candidate-queries --curves --output "runs/attacks/$name" "$@"
  python docs/results/tables.py record "$name" "runs/attacks/$name"
}

attack deepjscc-shapes deepjscc-shapes
attack lbvq-shapes lbvq-shapes
attack ibal-shapes ibal-shapes
attack dp-laplace-shapes dp-laplace-shapes
attack fixed-shuffle-shapes deepjscc-shapes --play encryption --scheme-kwargs mode=shuffle lifetime=fixed
attack message-shuffle-shapes deepjscc-shapes --play encryption --scheme-kwargs mode=shuffle lifetime=per_message
attack message-rotation-shapes deepjscc-shapes --play encryption --scheme-kwargs mode=rotation lifetime=per_message
attack layered-shapes lbvq-shapes --stages keyed
attack dp-laplace-article-shapes dp-laplace-article-shapes
attack label-only-shapes deepjscc-shapes --play label-only
python docs/results/tables.py write
