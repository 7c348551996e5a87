// SPDX-License-Identifier: Apache-2.0
// A job's user, for a coordinator that serves several: whose rights a launcher gets, and whose
// rights the coordinator uses while it touches files in a run directory.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

namespace talaria::coordinator {

struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
  std::string name;  // "1001" where the system knows no name
  std::string home;  // "/" where it knows none
  std::vector<gid_t> groups;
};

// From the system's user database. Throws Error when that cannot be read.
Identity identity_of(uid_t uid, gid_t gid);

// While it lives, this thread's file accesses have the user's rights (setfsuid), so that nothing in
// a user's folder can lead a coordinator run by root astray. Does nothing in a coordinator that is
// not root's, nor for root's own jobs.
class AsUser {
 public:
  explicit AsUser(const Identity& user);
  ~AsUser();
  AsUser(const AsUser&) = delete;
  AsUser& operator=(const AsUser&) = delete;

 private:
  bool switched_ = false;
  std::vector<gid_t> old_groups_;
};

}  // namespace talaria::coordinator
