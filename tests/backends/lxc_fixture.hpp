#pragma once

#include "backends/instance/lxc/lxc_driver.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <linux/stat.h>
#include <poll.h>
#include <string>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace troupe::test {

/// Runs a host program with an argument vector; its exit status.
inline int run_program(std::vector<std::string> words) {
  std::vector<char*> argv;
  for (auto& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  pid_t pid = ::fork();
  if (pid == 0) {
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/// Waits until `fd` is readable; false after half a minute, which only a broken program reaches.
inline bool readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, 30000) == 1;
}

inline std::string read_all(int fd) {
  std::string text;
  char part[4096];
  for (ssize_t n = 0; (n = ::read(fd, part, sizeof part)) > 0;) text.append(part, static_cast<size_t>(n));
  return text;
}

inline void write_text(const std::filesystem::path& path, const std::string& content, int mode = 0644) {
  std::ofstream{path, std::ios::trunc} << content;
  ::chmod(path.c_str(), static_cast<mode_t>(mode));
}

/// A small root file system from the host's static busybox.
inline void make_busybox_root(const std::filesystem::path& root) {
  namespace fs = std::filesystem;
  for (auto d : {"bin", "sbin", "dev", "proc", "sys", "tmp", "run", "root", "etc/init.d", "usr/bin", "var/log"})
    fs::create_directories(root / d);
  ::chmod((root / "tmp").c_str(), 01777);
  fs::copy_file("/bin/busybox", root / "bin/busybox", fs::copy_options::overwrite_existing);
  for (auto a : {"sh",  "sleep", "cat", "echo", "true", "false", "kill",  "id", "env",   "head", "grep",
                 "pwd", "stty",  "ls",  "tty",  "ps",   "dd",    "touch", "ln", "mkdir", "mknod"})
    fs::create_symlink("/bin/busybox", root / "bin" / a);
  for (auto a : {"init", "halt", "poweroff", "reboot", "ip"}) fs::create_symlink("/bin/busybox", root / "sbin" / a);
  write_text(root / "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n");
  write_text(root / "etc/group", "root:x:0:\nuser:x:1000:\n");
  write_text(root / "etc/inittab",
             "::sysinit:/etc/init.d/rcS\n::respawn:/bin/sleep 86400\n::shutdown:/bin/touch /run/down\n");
  write_text(root / "etc/init.d/rcS", "#!/bin/sh\necho booted > /run/booted\necho hello console > /dev/console\n",
             0755);
}

/// One daemon's worth of driver with its own names; takes down what a failed test leaves.
class lxc_world {
public:
  explicit lxc_world(const std::string& part)
      : id{"trtest-" + part + "-" + std::to_string(::getpid())}, place{"/tmp/" + id} {
    std::filesystem::create_directories(place / "log");
    std::filesystem::permissions(place, std::filesystem::perms{0755});
    make_busybox_root(place / "c1/rootfs");
    driver = make();
  }
  ~lxc_world() {
    auto found = driver->find("c1");
    if (found && *found) {
      unique_fd monitor = pidfd((*found)->monitor);
      driver->kill("c1", (*found)->leader);
      readable(monitor.get());
    }
    driver->sweep("c1");
    driver.reset();
    std::error_code ignored;
    std::filesystem::remove_all(place, ignored);
  }

  static unique_fd pidfd(pid_t pid);

  std::unique_ptr<instance_driver> make() const {
    const char* bin = std::getenv("TROUPE_BIN");
    return make_lxc_driver({std::string{bin ? bin : "/usr/bin"} + "/troupe-lxc", place / "lxc", id});
  }

  boot_plan plan() const {
    boot_plan p;
    p.key = "c1";
    p.name = "c1";
    p.architecture = "x86_64";
    p.root.path = place / "c1";
    p.ids = {2000000, 65536};
    p.log_dir = place / "log";
    return p;
  }

  /// Runs `sh -c script` and gives its standard output; the status in `status`.
  std::string shell(pid_t leader, const std::string& script, int* status = nullptr) const;

  std::string id;
  std::filesystem::path place;
  std::unique_ptr<instance_driver> driver;
};

} // namespace troupe::test
