// SPDX-License-Identifier: Apache-2.0
#include "coordinator/api/socket.h"

#include <cstring>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cluster/base/error.h"

namespace talaria::coordinator {
namespace {

namespace fs = std::filesystem;

sockaddr_un address_in(int directory, const char* name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = fmt::format("/proc/self/fd/{}/{}", directory, name);
  TALARIA_CHECK(path.size() < sizeof address.sun_path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

UniqueFd make_socket() {
  return UniqueFd(check_sys(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
                            "socket", "AF_UNIX"));
}

const sockaddr* as_sockaddr(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

}  // namespace

UniqueFd listen_on_socket(const fs::path& state_directory, mode_t mode) {
  // Bound under another name and renamed when it listens, so that whoever finds api.sock can
  // connect to it.
  constexpr const char* kNewName = "api.sock.new";
  const UniqueFd folder = open_file(state_directory, O_PATH | O_DIRECTORY);
  const std::string path = (state_directory / kNewName).string();
  if (::unlinkat(folder.get(), kNewName, 0) != 0 && errno != ENOENT) fail_errno("unlink", path);
  UniqueFd listener = make_socket();
  // The file is made with the rights of the socket's own inode, so it is never more open than this.
  check_sys(::fchmod(listener.get(), mode & 0600), "fchmod", path);
  const sockaddr_un address = address_in(folder.get(), kNewName);
  check_sys(::bind(listener.get(), as_sockaddr(address), sizeof address), "bind", path);
  check_sys(::listen(listener.get(), SOMAXCONN), "listen", path);
  check_sys(::fchmodat(folder.get(), kNewName, mode, 0), "fchmodat", path);
  check_sys(::renameat(folder.get(), kNewName, folder.get(), kSocketName), "rename", path);
  return listener;
}

UniqueFd connect_to_socket(const fs::path& state_directory) {
  const UniqueFd folder(::open(state_directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder) {
    if (errno == ENOENT || errno == ENOTDIR || errno == EACCES || errno == ENAMETOOLONG) return {};
    fail_errno("open", state_directory.string());
  }
  UniqueFd socket = make_socket();
  const sockaddr_un address = address_in(folder.get(), kSocketName);
  if (::connect(socket.get(), as_sockaddr(address), sizeof address) == 0) return socket;
  // EAGAIN: its queue of connections is full, so somebody is there but overrun.
  if (errno == EAGAIN) fail("{}: too many are connecting; try again", state_directory.string());
  if (errno == ENOENT || errno == ECONNREFUSED || errno == EACCES || errno == EPROTOTYPE ||
      errno == ENOTSOCK) {
    return {};
  }
  fail_errno("connect", (state_directory / kSocketName).string());
}

User peer_of(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  check_sys(::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size), "getsockopt",
            "SO_PEERCRED");
  return {peer.uid, peer.gid};
}

}  // namespace talaria::coordinator
