// SPDX-License-Identifier: Apache-2.0
#include "launch/attempt/stack_dump.h"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include <cxxabi.h>
#include <elfutils/libdwfl.h>
#include <fmt/format.h>

#include "launch/attempt/proc.h"

namespace talaria::launch {
namespace {

constexpr int kMostFrames = 128;

struct DwflEnd {
  void operator()(Dwfl* dwfl) const { dwfl_end(dwfl); }
};

struct Dump {
  Dwfl* dwfl = nullptr;
  pid_t pid = 0;
  std::FILE* out = nullptr;
  int frames = 0;  // of this thread so far
};

// Separate debug files are not looked for: that may ask a server on the network.
int no_debug_file(Dwfl_Module*, void**, const char*, Dwarf_Addr, const char*, const char*,
                  GElf_Word, char**) {
  return -1;
}

std::string demangle(const char* name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> plain(
      abi::__cxa_demangle(name, nullptr, nullptr, &status), &std::free);
  return status == 0 ? plain.get() : name;
}

std::string last_part(const char* path) {
  const char* slash = std::strrchr(path, '/');
  return slash == nullptr ? path : slash + 1;
}

int write_frame(Dwfl_Frame* frame, void* argument) {
  Dump& dump = *static_cast<Dump*>(argument);
  Dwarf_Addr pc = 0;
  bool activation = false;
  if (!dwfl_frame_pc(frame, &pc, &activation)) return DWARF_CB_ABORT;
  // A return address belongs to the instruction before it.
  const Dwarf_Addr at = activation ? pc : pc - 1;
  Dwfl_Module* module = dwfl_addrmodule(dump.dwfl, at);
  const char* name = module == nullptr ? nullptr : dwfl_module_addrname(module, at);
  const char* file = module == nullptr ? nullptr
                                       : dwfl_module_info(module, nullptr, nullptr, nullptr,
                                                          nullptr, nullptr, nullptr, nullptr);
  fmt::print(dump.out, "  #{} {} ({})\n", dump.frames,
             name == nullptr ? fmt::format("{:#x}", at) : demangle(name),
             file == nullptr ? "?" : last_part(file));
  return ++dump.frames < kMostFrames ? DWARF_CB_OK : DWARF_CB_ABORT;
}

int write_thread(Dwfl_Thread* thread, void* argument) {
  Dump& dump = *static_cast<Dump*>(argument);
  const pid_t tid = dwfl_thread_tid(thread);
  std::string name = read_proc_file(fmt::format("/proc/{}/task/{}/comm", dump.pid, tid));
  if (!name.empty()) name.pop_back();
  fmt::print(dump.out, "thread {} {}\n", tid, name);
  dump.frames = 0;
  if (dwfl_thread_getframes(thread, write_frame, &dump) == -1) {
    fmt::print(dump.out, "  ({})\n", dwfl_errmsg(-1));
  }
  std::fflush(dump.out);
  return DWARF_CB_OK;
}

}  // namespace

void dump_stacks(pid_t pid, std::FILE* out) {
  Dwfl_Callbacks callbacks{};
  callbacks.find_elf = dwfl_linux_proc_find_elf;
  callbacks.find_debuginfo = no_debug_file;
  const std::unique_ptr<Dwfl, DwflEnd> dwfl(dwfl_begin(&callbacks));
  Dump dump{dwfl.get(), pid, out, 0};
  if (!dwfl || dwfl_linux_proc_report(dwfl.get(), pid) != 0 ||
      dwfl_report_end(dwfl.get(), nullptr, nullptr) != 0 ||
      dwfl_linux_proc_attach(dwfl.get(), pid, false) != 0 ||
      dwfl_getthreads(dwfl.get(), write_thread, &dump) != 0) {
    fmt::print(out, "the stacks of process {} could not be read: {}\n", pid, dwfl_errmsg(-1));
  }
  std::fflush(out);
}

}  // namespace talaria::launch
