// SPDX-License-Identifier: Apache-2.0
// A coordinator for tests that starts nothing: jobs live in memory and their life is a script that
// a test writes, or that runs by the clock.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "coordinator/api/service.h"

namespace talaria::coordinator {

class FakeService : public Service {
 public:
  std::int64_t submit(const SubmitRequest& request, const User& user) override;
  std::vector<JobView> list(const User& user, bool all) const override;
  JobView show(std::int64_t job, const User& user) const override;
  void wish(std::int64_t job, Wish wish, const std::string& reason, const User& user) override;
  void retry(std::int64_t job, const User& user) override;

  // For the test itself. `at` must exist.
  JobView& at(std::int64_t job);
  std::int64_t add(JobView view);
  // Moves a stage and writes the transition.
  void move(std::int64_t job, StageState to, const std::string& reason, double time);
  // Begins an attempt of the stage.
  void begin_attempt(std::int64_t job, double time);

  double seconds_a_request = 0.0;  // list() takes so long

 private:
  const JobView& find(std::int64_t job, const User& user) const;
  std::map<std::int64_t, JobView> jobs_;
};

// A job of one stage, queued.
JobView fake_job(const std::string& name, uid_t uid, double now);

}  // namespace talaria::coordinator
