#include "cli/init/preseed.hpp"
#include "cli/init/questions.hpp"
#include "cli/output.hpp"
#include "cli/runs.hpp"
#include "cli/server.hpp"

#include <algorithm>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

namespace troupe {

using nlohmann::json;

namespace {

constexpr const char* modes[] = {"--auto", "--minimal", "--preseed", "--dump"};

void say(const std::string& line) { std::cerr << line << '\n'; }

outcome<void> from_stdin(const server& daemon) {
  std::string yaml{std::istreambuf_iterator<char>{std::cin}, {}};
  auto setup = parse_preseed(yaml);
  if (!setup) return tl::unexpected{setup.error()};
  return apply_setup(daemon, *setup, say);
}

outcome<void> by_questions(const server& daemon, const std::string& dir) {
  auto found = look_around(daemon);
  if (!found) return tl::unexpected{found.error()};
  questions ask{std::cin, std::cout};
  auto setup = ask_setup(ask, *found, dir);
  if (!setup) return tl::unexpected{setup.error()};
  auto print = ask.yes_no("Would you like a YAML \"init\" preseed to be printed?", false);
  if (!print) return tl::unexpected{print.error()};
  if (*print) std::cout << to_yaml(*setup);
  return apply_setup(daemon, *setup, say);
}

outcome<pool_wish> pool_of(const invocation& call) {
  pool_wish wish{.name = call.text("--storage-pool"),
                 .driver = call.text("--storage-backend"),
                 .source = call.text("--storage-create-device"),
                 .size = {}};
  auto size_gib = call.number("--storage-create-loop", 0);
  if (!size_gib || *size_gib < 0) return fail(fault::invalid, "--storage-create-loop must be a number of GiB");
  if (*size_gib > 0) wish.size = std::to_string(*size_gib) + "GiB";
  if (!wish.size.empty() && !wish.source.empty())
    return fail(fault::invalid, "Give only one of --storage-create-loop and --storage-create-device");
  if (wish.driver == "dir" && !(wish.size + wish.source).empty())
    return fail(fault::invalid, "A dir pool takes no loop file or device");
  return wish;
}

/// A btrfs pool if the server and this host can make one; if nobody insisted on btrfs, else a dir pool.
outcome<void> make_pool(const server& daemon, const surroundings& found, pool_wish wish, bool minimal) {
  bool free_choice = wish.driver.empty() && wish.size.empty() && wish.source.empty();
  if (wish.driver.empty()) wish.driver = (free_choice && (minimal || !found.btrfs)) ? "dir" : "btrfs";
  auto made = apply_setup(daemon, {{"storage_pools", {pool_entry(wish)}}}, say);
  if (made || !free_choice || wish.driver == "dir") return made;
  say("Using a dir pool, because btrfs does not work here: " + made.error().message);
  wish.driver = "dir";
  return apply_setup(daemon, {{"storage_pools", {pool_entry(wish)}}}, say);
}

outcome<void> without_questions(const server& daemon, const invocation& call) {
  auto found = look_around(daemon);
  if (!found) return tl::unexpected{found.error()};
  auto wish = pool_of(call);
  if (!wish) return tl::unexpected{wish.error()};
  auto pool = found->pool.empty() ? wish->name : found->pool;
  if (found->pool.empty())
    if (auto done = make_pool(daemon, *found, *wish, call.flag("--minimal")); !done) return done;
  json setup = json::object();
  auto bridge = found->bridge.empty() ? found->free_bridge_name : found->bridge;
  if (found->bridge.empty()) setup["networks"] = {network_entry({.name = bridge})};
  setup["profiles"] = {profile_entry(*found, pool, bridge)};
  return apply_setup(daemon, setup, say);
}

} // namespace

outcome<void> run_init(const invocation& call) {
  if (std::count_if(std::begin(modes), std::end(modes), [&](const char* mode) { return call.flag(mode); }) > 1)
    return fail(fault::invalid, "Give only one of --auto, --minimal, --preseed and --dump");
  server daemon{call.dir};
  if (call.flag("--preseed")) return from_stdin(daemon);
  if (call.flag("--auto") || call.flag("--minimal")) return without_questions(daemon, call);
  if (!call.flag("--dump")) return by_questions(daemon, call.dir);
  auto setup = dump_setup(daemon);
  if (!setup) return tl::unexpected{setup.error()};
  std::cout << to_yaml(*setup);
  return {};
}

} // namespace troupe
