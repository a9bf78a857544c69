#include "cli/command_line.hpp"

#include "cli/command.hpp"

#include <CLI/CLI.hpp>
#include <csignal>
#include <deque>
#include <iostream>

namespace troupe {
namespace {

constexpr int exit_failed = 1, exit_usage = 2;

/// "-t,--timeout" is looked up as "--timeout".
std::string key_of(const argument& arg) {
  std::string name = arg.name;
  return name.substr(name.rfind(',') + 1);
}

void add_argument(CLI::App& app, const argument& arg, invocation& call) {
  if (arg.what == argument::kind::words) {
    app.add_option(arg.name, call.words, arg.help);
    return;
  }
  auto& value = call.values[key_of(arg)] = arg.fallback;
  if (arg.what == argument::kind::flag) {
    app.add_flag_callback(
        arg.name, [&value] { value = "true"; }, arg.help);
    return;
  }
  auto* option = app.add_option(arg.name, value, arg.help);
  if (*arg.fallback) option->capture_default_str();
  using enum argument::kind;
  if (arg.what == required_text || arg.what == required_positional) option->required();
}

/// The sub-command "image build" below "image"; groups are made when they are first needed.
CLI::App& place(CLI::App& root, std::map<std::string, CLI::App*>& groups, const command& row) {
  std::string name = row.name;
  auto* above = &root;
  size_t begin = 0;
  for (auto space = name.find(' '); space != std::string::npos; space = name.find(' ', begin)) {
    auto word = name.substr(begin, space - begin);
    auto& group = groups[name.substr(0, space)];
    if (!group) group = above->add_subcommand(word, "Commands about " + word)->require_subcommand(1)->fallthrough();
    above = group;
    begin = space + 1;
  }
  return *above->add_subcommand(name.substr(begin), row.summary)->fallthrough(); // --dir may follow too
}

std::string default_dir() {
  const char* set = std::getenv("TROUPE_DIR");
  return set && *set ? set : "/var/lib/troupe";
}

} // namespace

int run_command_line(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN); // a daemon that hangs up is an error to report, not a reason to die
  CLI::App app{"troupe: client of the Troupe daemon", "troupe"};
  app.require_subcommand(1);
  app.set_version_flag("--version", TROUPE_VERSION);
  auto dir = default_dir();
  app.add_option("--dir", dir, "the daemon's state folder (or TROUPE_DIR)")->capture_default_str();

  std::deque<std::pair<const command*, invocation>> calls; // a deque: options point into it
  std::vector<CLI::App*> apps;
  std::map<std::string, CLI::App*> groups;
  for (auto& row : commands()) {
    auto& sub = place(app, groups, row);
    calls.emplace_back(&row, invocation{});
    for (auto& arg : row.arguments) add_argument(sub, arg, calls.back().second);
    apps.push_back(&sub);
  }

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& problem) {
    return app.exit(problem) == 0 ? 0 : exit_usage;
  }
  for (size_t i = 0; i < apps.size(); ++i) {
    if (!apps[i]->parsed()) continue;
    calls[i].second.dir = dir;
    auto done = calls[i].first->run(calls[i].second);
    if (done) return 0;
    std::cout.flush();
    std::cerr << "Error: " << done.error().message << '\n';
    return exit_failed;
  }
  return exit_usage;
}

} // namespace troupe
