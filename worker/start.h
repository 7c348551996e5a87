// SPDX-License-Identifier: Apache-2.0
// The weights that a run begins with: from a checkpoint, a run, or an earlier stage of the same
// job.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "worker/task.h"

namespace talaria::worker {

// The checkpoint that `start` names: its own folder, what a run's artifact.json hands on, or the
// newest checkpoint of a run that verifies. "stage:NAME" is the run beside `run_path`. Reads and
// verifies the checkpoint's files: for one rank. Throws UsageError naming what is missing, Error
// for what is damaged.
std::filesystem::path resolve_start(const std::string& start, const std::filesystem::path& run_path,
                                    ThreadPool& pool);

// What load_start would refuse of the paths in job.start, as far as the manifests tell: nothing
// there, or a model of another shape than job.model. Stages of the same job may not be done yet,
// and are not looked at. Reads files: for one rank. Throws UsageError.
void check_starts(const launch::Job& job);

// Throws UsageError when a stage of the same job that a run began with hands on other weights now.
// What is gone says nothing. Reads files: for one rank.
void check_origins(const launch::Job& job, const std::filesystem::path& run_path,
                   const std::vector<Origin>& origins);

// Whether a checkpoint of the run holds the engine's weights, or they are read anew each time.
enum class StartUse { kTrained, kFrozen };

// Fills the engine's weights from `start`, the value of the key start.<role>, and returns the
// checkpoint; nothing happens where it is empty, nor for a trained model in a run that resumes.
// Averaged weights are taken where the checkpoint has them. A scalar head that is trained keeps its
// own weights where the checkpoint has none. Adds to resources.origins. Throws AgreedFailure, on
// all ranks, when the checkpoint is missing or damaged, of another shape or tokenizer, no reward
// model where one is needed, or no longer the one that the run began with; the complaint names the
// key, the one whose value start.<role> has by default where that is the same. Collective over
// world.
std::filesystem::path load_start(const std::string& role, const std::string& start, StartUse use,
                                 const TaskResources& resources, Engine& engine);

// The same weights again, unchecked. Every rank reads for itself.
void read_start(const std::filesystem::path& checkpoint, Engine& engine);

}  // namespace talaria::worker
