#include "cli/editor.hpp"

#include "cli/scratch_dir.hpp"

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace troupe {
namespace {

std::string editor() {
  for (auto* name : {"VISUAL", "EDITOR"})
    if (const char* set = std::getenv(name); set && *set) return set;
  return "vi";
}

// The terminal is the editor's meanwhile.
outcome<void> run_editor(const std::string& file) {
  auto program = editor();
  std::string path = file;
  char* arguments[] = {program.data(), path.data(), nullptr};
  pid_t child = 0;
  if (int failed = posix_spawnp(&child, program.c_str(), nullptr, nullptr, arguments, environ))
    return fail_errno(failed, "Cannot start the editor " + program);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status == 0) return {};
  return fail(fault::cancelled, "The editor failed; nothing was changed");
}

} // namespace

outcome<std::string> edit_text(const std::string& text) {
  if (!isatty(STDIN_FILENO)) return std::string{std::istreambuf_iterator<char>{std::cin}, {}};
  auto dir = scratch_dir::make("edit");
  if (!dir) return tl::unexpected{dir.error()};
  auto file = dir->path() + "/edit.yaml";
  std::ofstream{file} << text;
  if (auto done = run_editor(file); !done) return tl::unexpected{done.error()};
  std::ifstream in{file};
  return std::string{std::istreambuf_iterator<char>{in}, {}};
}

} // namespace troupe
