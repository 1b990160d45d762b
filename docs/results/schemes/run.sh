#!/bin/sh
# Everything behind the CIFAR-10 figures of the privacy schemes, in the order in which it was run: about two hours on two cores.
# Needs CIFAR-10 under $TOSC_DATA_DIR, and the unprotected baseline:
#   tosc train deepjscc --data cifar10 --snr-db 12 --epochs 60
set -eu
BASE=runs/deepjscc-cifar10-12dB.safetensors
mkdir -p runs/schemes

# Schemes: warm-started from the baseline, on the same half of the training images, AWGN at 12 dB, seed 0.
tosc train ibal --from $BASE --data cifar10 --epochs 14 --output runs/schemes/ibal.safetensors \
  --objectives task bottleneck:start=1,ramp=4 adversary:weight=2
tosc train lbvq --from $BASE --data cifar10 --epochs 12 --output runs/schemes/lbvq.safetensors \
  --objectives task codebook adversary
tosc train dp-laplace --from $BASE --data cifar10 --epochs 9 --output runs/schemes/dp.safetensors \
  --scheme-kwargs epsilon=20 'epsilon_range=[1,100]'
tosc train dp-laplace --from $BASE --freeze transmitter --data cifar10 --epochs 4 --cutout 0 \
  --output runs/schemes/article.safetensors \
  --scheme-kwargs mode=calibrated constant=1 epsilon=1 'epsilon_range=[0.3,50]'
tosc calibrate runs/schemes/article.safetensors --rival runs/schemes/lbvq.safetensors

# Attackers at 12 dB, trained at 12 dB on the other half, unlimited queries.
AT="--snr-db 12 --seeds 3"
LONG="match.epochs=12 label.epochs=15 inversion-mlp.epochs=24 inversion-mlp.restarts=2"
SHORT="inversion-mlp.epochs=10 inversion-mlp.restarts=1 label.epochs=10"
SORTED='sorted.base_attack_kwargs={"inversion-mlp":{"epochs":10,"restarts":1},"label":{"epochs":10}}'
ALL_SORTED='sorted.base_attack_kwargs={"inversion-mlp":{"epochs":10,"restarts":1},"label":{"epochs":10},"match":{"epochs":10}}'
tosc attack $BASE $AT --output runs/schemes/a-deepjscc --eavesdropper-kwargs $LONG \
  --eavesdropper mean-image linear inversion-mlp match match-query label
tosc attack runs/schemes/ibal.safetensors $AT --output runs/schemes/a-ibal --eavesdropper-kwargs $LONG \
  --eavesdropper mean-image linear inversion-mlp match match-query label
tosc attack runs/schemes/lbvq.safetensors $AT --output runs/schemes/a-lbvq \
  --eavesdropper mean-image linear inversion-mlp match match-query label codebook \
  --eavesdropper-kwargs $LONG 'codebook.base_attacks=["inversion-mlp","label"]' \
  'codebook.base_attack_kwargs={"inversion-mlp":{"epochs":20,"restarts":1},"label":{"epochs":20}}'
tosc attack $BASE --play encryption --scheme-kwargs mode=shuffle lifetime=fixed $AT --no-ssim \
  --output runs/schemes/a-enc-fixed --eavesdropper mean-image match match-query unshuffle \
  --eavesdropper-kwargs $LONG \
  'unshuffle.base_attack_kwargs={"inversion-mlp":{"epochs":12,"restarts":2},"label":{"epochs":12},"match":{"epochs":12}}'
tosc attack $BASE --play encryption --scheme-kwargs mode=rotation $AT --no-ssim --output runs/schemes/a-enc-rotation \
  --eavesdropper mean-image linear inversion-mlp match-query label sorted --eavesdropper-kwargs $SHORT "$ALL_SORTED"
for epsilon in 20 1 5 100; do
  tosc attack runs/schemes/dp.safetensors --scheme-kwargs epsilon=$epsilon $AT --no-ssim \
    --output runs/schemes/a-dp-$epsilon --eavesdropper mean-image linear inversion-mlp match-query label \
    --eavesdropper-kwargs $SHORT
done
for mode in shuffle shuffle+signs; do
  tosc attack $BASE --play encryption --scheme-kwargs mode=$mode $AT --no-ssim --output runs/schemes/a-enc-$mode \
    --eavesdropper mean-image match-query sorted --eavesdropper-kwargs "$SORTED" 'sorted.base_attacks=["inversion-mlp","label"]'
done
tosc attack runs/schemes/lbvq.safetensors --play layered --scheme-kwargs mode=shuffle $AT \
  --no-ssim --output runs/schemes/a-layered --eavesdropper mean-image match-query sorted \
  --eavesdropper-kwargs "$SORTED" 'sorted.base_attacks=["inversion-mlp","label"]'

# The zoo's attackers: the article's decoder, told its SNR, over 0 to 20 dB.
SNRS="--snr-db 0 4 8 12 16 20 --seeds 1 --no-ssim --no-candidate-queries --eavesdropper inversion"
NET="inversion.widths=[96,48,32,16] inversion.restarts=1"
tosc attack runs/schemes/ibal.safetensors $SNRS --eavesdropper-kwargs $NET inversion.epochs=5 --output runs/schemes/z-ibal
tosc attack runs/schemes/lbvq.safetensors $SNRS --eavesdropper-kwargs $NET inversion.epochs=5 --output runs/schemes/z-lbvq
tosc attack runs/schemes/dp.safetensors $SNRS --eavesdropper-kwargs $NET inversion.epochs=3 --output runs/schemes/z-dp
tosc attack $BASE --play encryption $SNRS --eavesdropper-kwargs $NET inversion.epochs=1 --output runs/schemes/z-encryption
tosc attack runs/schemes/lbvq.safetensors --play layered $SNRS --eavesdropper-kwargs $NET inversion.epochs=2 \
  --output runs/schemes/z-layered
tosc attack $BASE --play label-only $SNRS --eavesdropper-kwargs $NET inversion.epochs=2 --output runs/schemes/z-label-only
