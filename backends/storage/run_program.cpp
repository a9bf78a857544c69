#include "backends/storage/run_program.hpp"

#include <cerrno>
#include <signal.h>
#include <spawn.h>
#include <string_view>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr size_t output_max = 64 << 10;

std::string find_program(const std::string& name) {
  for (const char* directory : {"/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/", "/usr/local/sbin/", "/usr/local/bin/"})
    if (auto path = directory + name; access(path.c_str(), X_OK) == 0) return path;
  return {};
}

std::string content(const unique_fd& file) {
  std::string text(output_max, 0);
  auto size = pread(file.get(), text.data(), text.size(), 0);
  text.resize(size > 0 ? static_cast<size_t>(size) : 0);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

std::string last_line(const std::string& text) { return text.substr(text.rfind('\n') + 1); }

class spawn_setup {
public:
  spawn_setup(int out, int err, int kept_open) {
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", 0, 0);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    posix_spawn_file_actions_adddup2(&actions, err, 2);
    if (kept_open >= 0) posix_spawn_file_actions_adddup2(&actions, kept_open, 3);
    posix_spawnattr_init(&attributes);
    sigset_t set;
    sigemptyset(&set);
    posix_spawnattr_setsigmask(&attributes, &set);
    sigfillset(&set);
    posix_spawnattr_setsigdefault(&attributes, &set);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  spawn_setup(const spawn_setup&) = delete;
  ~spawn_setup() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

} // namespace

outcome<pid_t> start_program(std::vector<std::string> arguments, int output, int complaints, int kept_open) {
  auto name = arguments.front();
  auto path = find_program(name);
  if (path.empty()) return fail(fault::unsupported, "The program " + name + " is not installed");
  std::vector<char*> argv;
  for (auto& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  char search[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", locale[] = "LC_ALL=C";
  char* environment[] = {search, locale, nullptr};
  spawn_setup setup{output, complaints, kept_open};
  pid_t child = -1;
  int error = posix_spawn(&child, path.c_str(), &setup.actions, &setup.attributes, argv.data(), environment);
  if (error != 0) return fail_errno(error, "Cannot run " + name);
  return child;
}

std::string last_complaint(const unique_fd& complaints) { return last_line(content(complaints)); }

outcome<std::string> run_program(std::vector<std::string> arguments, int kept_open) {
  auto name = arguments.front();
  unique_fd out{memfd_create("out", MFD_CLOEXEC)}, err{memfd_create("err", MFD_CLOEXEC)};
  if (!out || !err) return fail_errno(errno, "Cannot make room for the output of " + name);
  auto child = start_program(std::move(arguments), out.get(), err.get(), kept_open);
  if (!child) return tl::unexpected{child.error()};
  int status = 0;
  while (waitpid(*child, &status, 0) < 0)
    if (errno != EINTR) return fail_errno(errno, "Cannot wait for " + name);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return content(out);
  return fail(fault::backend_failed, "The program " + name + " failed: " + last_complaint(err));
}

} // namespace troupe
