#!/bin/sh
# Everything behind the article's figures and tables, in the order in which it was run on two cores.
# Needs CIFAR-10 and CelebA under $TOSC_DATA_DIR, and what ../schemes/run.sh trains:
#   runs/deepjscc-cifar10-12dB.safetensors (60 epochs), runs/schemes/ibal.safetensors (14), runs/schemes/lbvq.safetensors (12)
set -eu
BASE=runs/deepjscc-cifar10-12dB.safetensors
mkdir -p runs/reproduction

# Plain vector quantisation, and LBVQ again from two other seeds, all from the same baseline.
tosc train lbvq --from $BASE --data cifar10 --epochs 12 --output runs/reproduction/vq.safetensors
for seed in 1 2; do
  tosc train lbvq --from $BASE --data cifar10 --epochs 12 --seed $seed --output runs/reproduction/lbvq-s$seed.safetensors \
    --objectives task codebook adversary
done

# One multi-attribute model each on CelebA: Mustache, Smiling, Wavy Hair.
tosc train deepjscc --data celeba --epochs 24 --batch-size 125 --learning-rate 0.1 --output runs/reproduction/celeba.safetensors \
  --scheme-kwargs stem=16 'widths=[32,64,128]' 'blocks=[1,1,1]' receiver_width=192 receiver_depth=1
FACES=runs/reproduction/celeba.safetensors
tosc train lbvq --from $FACES --data celeba --epochs 10 --batch-size 125 --output runs/reproduction/lbvq-celeba.safetensors \
  --objectives task codebook adversary
tosc train ibal --from $FACES --data celeba --epochs 10 --batch-size 125 --output runs/reproduction/ibal-celeba.safetensors \
  --objectives task bottleneck:start=1,ramp=4 adversary:weight=2

# The experiments: the same command in two processes of one thread each, which share the folder.
reproduce() {
  OMP_NUM_THREADS=1 tosc reproduce "$@" --preset cpu --output runs/reproduction/cpu --no-faces --use \
    baseline=$BASE ibal=runs/schemes/ibal.safetensors lbvq=runs/schemes/lbvq.safetensors vq=runs/reproduction/vq.safetensors \
    lbvq:1=runs/reproduction/lbvq-s1.safetensors lbvq:2=runs/reproduction/lbvq-s2.safetensors \
    faces.baseline=$FACES faces.lbvq=runs/reproduction/lbvq-celeba.safetensors faces.ibal=runs/reproduction/ibal-celeba.safetensors
}
reproduce fig3 &
reproduce table2 && reproduce fig4
wait
# What is timed wants a quiet machine and both cores.
OMP_NUM_THREADS=2 tosc reproduce table1 --preset cpu --output runs/reproduction/cpu
reproduce claims

# The embedded images, the unprotected scheme, IBAL and LBVQ from three seeds.
tosc reproduce fig3 --preset quick --trainings 3 --output runs/reproduction/quick \
  --methods deepjscc label-only enc-rotation ibal vq lbvq

# The zoo.
python benchmarks/training.py --threads 2 --steps 4 --repeats 5 > training.json
