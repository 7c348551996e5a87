// SPDX-License-Identifier: Apache-2.0
#include "coordinator/supervisor/identity.h"

#include <grp.h>
#include <pwd.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cluster/base/error.h"

namespace talaria::coordinator {
namespace {

// The system call changes this thread only, where setgroups(3) would change all of them.
void set_thread_groups(const std::vector<gid_t>& groups) {
  check_sys(::syscall(SYS_setgroups, groups.size(), groups.data()), "setgroups", "");
}

std::vector<gid_t> current_groups() {
  const int count = check_sys(::getgroups(0, nullptr), "getgroups", "");
  std::vector<gid_t> groups(static_cast<std::size_t>(count));
  check_sys(::getgroups(count, groups.data()), "getgroups", "");
  return groups;
}

std::vector<gid_t> groups_of(const char* name, gid_t gid) {
  int count = 32;
  std::vector<gid_t> groups(static_cast<std::size_t>(count));
  while (::getgrouplist(name, gid, groups.data(), &count) < 0) {
    groups.resize(static_cast<std::size_t>(count));
  }
  groups.resize(static_cast<std::size_t>(count));
  return groups;
}

}  // namespace

Identity identity_of(uid_t uid, gid_t gid) {
  Identity identity{uid, gid, fmt::format("{}", uid), "/", {gid}};
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> buffer(1 << 14);
  const int rc = ::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found);
  if (rc != 0) fail_errno("getpwuid_r", fmt::format("uid {}", uid), rc);
  if (found == nullptr) return identity;
  identity.name = found->pw_name;
  identity.home = found->pw_dir;
  identity.groups = groups_of(found->pw_name, gid);
  return identity;
}

AsUser::AsUser(const Identity& user) {
  if (::geteuid() != 0 || user.uid == 0) return;
  old_groups_ = current_groups();
  set_thread_groups(user.groups);
  ::setfsgid(user.gid);
  ::setfsuid(user.uid);
  switched_ = true;
  // The call reports no failure; asking for an impossible id tells the one in force.
  TALARIA_CHECK(static_cast<uid_t>(::setfsuid(static_cast<uid_t>(-1))) == user.uid, "setfsuid {}",
                user.uid);
}

AsUser::~AsUser() {
  if (!switched_) return;
  ::setfsuid(::geteuid());
  ::setfsgid(::getegid());
  set_thread_groups(old_groups_);
}

}  // namespace talaria::coordinator
