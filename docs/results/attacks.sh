#!/bin/sh
# The attacks behind attackers.md and bits.svg: every attacker against the zoo's systems at 12 dB, with less training than its defaults: a system takes
# minutes in place of hours on one thread, and what then still rose is printed in italics. One thread each; resumable.
# sh docs/results/attacks.sh shapes cifar10      (CIFAR-10 must lie under $TOSC_DATA_DIR)
set -eu
export OMP_NUM_THREADS=1
ZOO=agents/tosc_agents/zoo/weights
short='batch_size=250 label.steps=1000 attribute.steps=1000 inversion-mlp.steps=1500 match.steps=1000 match.towers=1 match.stem=8 match.widths=[24,48,96]'
short="$short inversion.widths=[48,32,24,16] inversion.steps=600 inversion-unet.widths=[16,32,64] inversion-unet.steps=400"
base='"inversion-mlp":{"steps":1000,"batch_size":250},"label":{"steps":600,"batch_size":250}'
base="{$base,\"match\":{\"steps\":600,\"batch_size\":250,\"towers\":1,\"stem\":8,\"widths\":[24,48,96]}}"
for name in codebook sorted denoise unshuffle; do
  short="$short $name.base_attack_kwargs=$base"
done
attack() { # name, weights, further options
  name=$1-$data weights=$2-$data
  shift 2
  # shellcheck disable=SC2086
  [ -f "runs/attacks/$name/results.md" ] ||
    tosc attack "$ZOO/$weights.safetensors" --all --snr-db 12 --no-ssim --candidate-queries --curves "$@" \
      --eavesdropper-kwargs $short --output "runs/attacks/$name"
  python docs/results/tables.py record "$name" "runs/attacks/$name"
}
for data in "$@"; do
  attack deepjscc deepjscc
  attack lbvq lbvq
  attack ibal ibal
  attack layered lbvq --stages keyed
  attack message-shuffle deepjscc --play encryption --scheme-kwargs mode=shuffle lifetime=per_message
  attack fixed-shuffle deepjscc --play encryption --scheme-kwargs mode=shuffle lifetime=fixed
  attack message-rotation deepjscc --play encryption --scheme-kwargs mode=rotation lifetime=per_message
  attack dp-laplace dp-laplace
  attack dp-laplace-article dp-laplace-article
  attack label-only deepjscc --play label-only
done
python docs/results/tables.py write
