#pragma once

#include "messages/unique_fd.hpp"

#include <functional>
#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

namespace troupe::test {

/// Moves the test program into a network namespace of its own (once), so that no bridge, route, rule or sysctl of a
/// test ever meets those of the host, even when the program is killed.
void enter_own_network();

struct run_result {
  int code = -1;
  std::string output;
};
/// Runs a program to its end, in the network namespace of process `within` if that is not 0. No shell.
run_result run(const std::vector<std::string>& command, pid_t within = 0);
/// `ip ARGS`, which must succeed.
void ip(const std::string& words, pid_t within = 0);

/// A child process that dies with its owner (and with the test program).
class process {
public:
  explicit process(const std::vector<std::string>& command);
  explicit process(const std::function<void()>& body);
  process(process&&) = delete;
  ~process();

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  bool running() const;

private:
  pid_t pid_ = -1;
};

/// A network namespace with one interface eth0 in a bridge of the test program's namespace.
class guest {
public:
  guest(const std::string& bridge, const std::string& host_name, const std::string& hwaddr);
  ~guest();

  pid_t pid() const { return holder_->pid(); }
  run_result run(const std::vector<std::string>& command) const { return test::run(command, pid()); }

private:
  std::string host_name_;
  std::unique_ptr<process> holder_;
};

/// A folder below /tmp that others may pass through, removed at the end.
class folder {
public:
  folder();
  ~folder();
  const std::string& path() const { return path_; }

private:
  std::string path_;
};

/// Notifications of the kernel about routes and links, or about nftables, since its making.
class listener {
public:
  enum class of { links, firewall };
  explicit listener(of what);
  /// How many messages have come since the last call; those the kernel sends before it answers a request are all there.
  int count();

private:
  unique_fd fd_;
};

/// The ruleset of this namespace as nft prints it.
std::string ruleset();

/// True as soon as `done` is; false after ten seconds of asking.
bool eventually(const std::function<bool()>& done);

std::string read_file(const std::string& path);
void write_file(const std::string& path, const std::string& content, mode_t mode = 0644);

} // namespace troupe::test
