// SPDX-License-Identifier: Apache-2.0
// What the coordinator knows of a stage's running attempt and keeps in memory only: what its ranks
// said, which launchers were started, whether it hangs. All of it can be lost and is gathered anew.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/posix/stream_descriptor.hpp>

#include "coordinator/state/plan.h"
#include "coordinator/state/store.h"
#include "coordinator/supervisor/monitor.h"
#include "coordinator/supervisor/run_folder.h"
#include "coordinator/supervisor/views.h"
#include "launch/job.h"

namespace talaria::coordinator {

class StageWatch {
 public:
  // `stage` with its job file.
  StageWatch(const JobRow& job, const StageRow& stage);

  // Forgets the attempt before, keeps the learned times. `noticed`: wall time at which the failure
  // that this attempt follows was noticed, 0 for none.
  void begin(const AttemptRow& attempt, double noticed, double now_monotonic);

  // From the rank channel.
  bool admits(const wire::Hello& hello) const;
  void joined(const wire::Hello& hello, double now);
  void said(int rank, const wire::RankMessage& message, double now);
  void lost(int rank);
  // The coordinator itself did not run for this long: nobody is to blame for that silence.
  void forgive(double seconds);

  std::optional<Hang> find_hang(double now) const;
  double beat_seconds() const;
  ProgressView progress() const;
  std::vector<RankView> rank_views(double now) const;
  // True once, when a rank has made its first step after a restart.
  bool restarted();

  const launch::Job& job() const { return job_; }
  const std::string& job_toml() const { return toml_; }
  const RunFolder& folder() const { return folder_; }
  const AttemptRow& attempt() const { return attempt_; }
  std::string host_of(int rank) const;

  // Launchers of this attempt that this process started.
  int launches = 0;
  double last_launch = 0.0;  // wall seconds
  std::string launcher_error;
  // Of one that this process started and that has not ended.
  std::unique_ptr<boost::asio::posix::stream_descriptor> launcher_end;
  bool asked = false;
  double killed = 0.0;  // monotonic, 0: not
  std::optional<Hang> hang;
  double hang_since = 0.0;  // monotonic
  std::string complaint;
  double noticed = 0.0;  // wall seconds of the failure that this attempt follows

 private:
  void note_step(std::int64_t step, double now);

  launch::Job job_;
  std::string toml_;
  RunFolder folder_;
  AttemptRow attempt_;
  double since_ = 0.0;  // monotonic
  std::vector<RankSignal> ranks_;
  std::vector<int> connections_;
  PhaseTimes times_;
  std::int64_t first_step_ = -1;  // steps done when the first step of this attempt began
  // The pace is that of the steps after the first, which also warms up; rank 0's and the others'
  // beats tell of the same steps.
  std::int64_t paced_from_ = -1;
  double paced_since_ = 0.0;
  std::int64_t newest_step_ = -1;
  double newest_step_time_ = 0.0;
  bool restart_told_ = false;
};

}  // namespace talaria::coordinator
