// SPDX-License-Identifier: Apache-2.0
// Executes a schedule: moves activations and gradients between neighbouring stages and calls the
// stage's forward and backward. Knows nothing of what a stage computes.
#pragma once

#include "cluster/device/tensor.h"
#include "parallel/communicator.h"
#include "parallel/schedule.h"

namespace talaria::parallel {

// One stage of a pipeline. A micro-batch is live from open() to close(); its buffers stay in place.
class Stage {
 public:
  virtual ~Stage() = default;

  // Where the runner puts what it received, and takes what it sends. All are [rows, C] of a live
  // micro-batch. The first stage has no input, the last no output.
  virtual TensorView input(int micro_batch) = 0;
  virtual TensorView output(int micro_batch) = 0;
  virtual TensorView output_gradient(int micro_batch) = 0;
  virtual TensorView input_gradient(int micro_batch) = 0;

  virtual void open(int micro_batch) = 0;
  virtual void forward(int micro_batch) = 0;
  virtual void backward(int micro_batch) = 0;
  virtual void close(int micro_batch) = 0;
};

struct RunnerStatistics {
  int max_live = 0;  // micro-batches held at once
};

// Runs `schedule` on `stage`. `pipeline` is the group of the stages in order; this rank is one of
// them. Collective over the pipeline. A schedule without backward passes closes a micro-batch after
// its forward pass and its sends.
RunnerStatistics run_schedule(const Schedule& schedule, Stage& stage, Communicator& pipeline);

}  // namespace talaria::parallel
