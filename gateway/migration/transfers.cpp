#include "gateway/migration/transfers.hpp"

#include "actors/names.hpp"
#include "actors/operations.hpp"

#include <caf/send.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

namespace troupe {
namespace {

constexpr size_t running_max = 8; // each takes a blocking thread for as long as it lasts
constexpr std::chrono::seconds offer_time{10};
constexpr std::chrono::milliseconds tell_every{500};

std::string amount(double bytes) {
  static constexpr const char* units[] = {"B", "kB", "MB", "GB", "TB"};
  size_t unit = 0;
  for (; bytes >= 1000 && unit + 1 < std::size(units); ++unit) bytes /= 1000;
  char out[32];
  std::snprintf(out, sizeof out, "%.2f%s", bytes, units[unit]);
  return out;
}

} // namespace

outcome<driver_ptr> driver_of_pool(const services& with, const std::string& pool) {
  auto record = load<schema::PoolSpec>(with.db.read(), table::pools, pool);
  if (!record) return fail(fault::not_found, "Storage pool \"" + pool + "\" does not exist");
  auto driver =
      record->read([&](auto is) { return make_driver(with, pool, text(is.getDriver()), to_map(is.getConfig())); });
  if (!driver) return fail(fault::internal, "Storage pool \"" + pool + "\" has no driver");
  return driver;
}

/// Held while one is at work.
class transfers::place {
public:
  static std::unique_ptr<place> take(transfers& of) {
    std::lock_guard guard{of.lock_};
    if (of.stopped_ || of.running_ >= running_max) return nullptr;
    ++of.running_;
    return std::make_unique<place>(of);
  }
  explicit place(transfers& of) : of_{of} {}
  place(const place&) = delete;
  ~place() {
    std::lock_guard guard{of_.lock_};
    --of_.running_;
  }

private:
  transfers& of_;
};

transfers::transfers(services& with)
    : with_{with}, rsync_{std::filesystem::read_symlink("/proc/self/exe").parent_path().string() + "/troupe-rsync"},
      dialer_{with.io} {}

transfers::~transfers() {
  stop();
  std::unique_lock held{lock_};
  left_.wait(held, [this] { return inside_ == 0; });
}

std::shared_ptr<void> transfers::enter() {
  std::lock_guard guard{lock_};
  ++inside_;
  return {this, [](void* all) {
            auto& self = *static_cast<transfers*>(all);
            std::lock_guard leaving{self.lock_};
            if (--self.inside_ == 0) self.left_.notify_all();
          }};
}

void transfers::stop() {
  std::map<std::string, std::shared_ptr<transfer_link>> all;
  {
    std::lock_guard guard{lock_};
    stopped_ = true;
    all.swap(links_);
  }
  offered_.notify_all();
  for (auto& [operation, link] : all) link->end({fault::cancelled, "The server is stopping"});
}

bool transfers::offer(const std::string& operation, std::shared_ptr<transfer_link> by) {
  {
    std::lock_guard guard{lock_};
    if (stopped_ || !links_.emplace(operation, std::move(by)).second) return false;
  }
  offered_.notify_all();
  return true;
}

// The operation may have been faster than the answer to who asked for it.
std::shared_ptr<transfer_link> transfers::await_link(const std::string& operation) {
  std::unique_lock held{lock_};
  offered_.wait_for(held, offer_time, [&] { return stopped_ || links_.contains(operation); });
  auto at = links_.find(operation);
  return at == links_.end() ? nullptr : at->second;
}

std::shared_ptr<transfer_link> transfers::find(const std::string& operation) {
  std::lock_guard guard{lock_};
  auto at = links_.find(operation);
  return at == links_.end() ? nullptr : at->second;
}

void transfers::forget(const std::string& operation) {
  std::shared_ptr<transfer_link> link;
  {
    std::lock_guard guard{lock_};
    auto at = links_.find(operation);
    if (at == links_.end()) return;
    link = std::move(at->second);
    links_.erase(at);
  }
  link->close();
}

void transfers::cancel(const std::string& operation) {
  if (auto link = find(operation)) link->end({fault::cancelled, "The operation was cancelled"});
}

transfer_progress transfers::report_to(const std::string& operation) const {
  using clock = std::chrono::steady_clock;
  struct state {
    std::string part;
    uint64_t bytes = 0, all = 0;
    clock::time_point begun, told;
  };
  return [this, operation, now = std::make_shared<state>()](const std::string& part, uint64_t bytes) {
    auto time = clock::now();
    if (now->part != part) *now = {part, 0, now->all, time, time};
    now->bytes += bytes;
    now->all += bytes;
    if (time - now->told < tell_every) return;
    now->told = time;
    auto took = std::chrono::duration<double>(time - now->begun).count();
    auto text = part + ": " + amount(static_cast<double>(now->bytes)) + " (" +
                amount(static_cast<double>(now->bytes) / took) + "/s)";
    caf::anon_send(with_.find(role::operations),
                   operation_progress{operation, "fs_progress", std::move(text), "bytes", now->all, 0});
  };
}

outcome<void> transfers::send_now(const std::string& operation, transfer_link& to, const outgoing& what) {
  auto mine = place::take(*this);
  if (!mine) return fail(fault::busy, "Too many migrations are running; try again later");
  if (auto there = to.connect(dialer_); !there) return there;
  auto sent = send_instance(to, what, rsync_, report_to(operation));
  if (sent) return sent;
  auto why = to.explain(sent.error());
  to.refuse(why);
  return tl::unexpected{why};
}

void transfers::send(const std::string& operation, std::shared_ptr<transfer_link> to, outgoing what) {
  auto end = [this, operation](const outcome<void>& done) {
    caf::anon_send(with_.find(role::operations),
                   finish_live{operation, done.has_value(), done ? error{} : done.error()});
    forget(operation);
  };
  if (!offer(operation, to)) return end(fail(fault::busy, "The server is stopping"));
  bool taken = with_.blocking.submit(
      [this, operation, to, what = std::move(what), end, inside = enter()] { end(send_now(operation, *to, what)); });
  if (!taken) end(fail(fault::busy, "The server has too much to do right now; try again"));
}

outcome<step_result> transfers::receive(const step_act& act, storage_driver& driver) {
  auto inside = enter();
  auto mine = place::take(*this);
  auto link = await_link(act.operation);
  if (!link) return fail(fault::timed_out, "Nobody has opened the streams of the migration");
  if (!mine) return fail(fault::busy, "Too many migrations are running; try again later");
  if (auto there = link->connect(dialer_); !there) return tl::unexpected{there.error()};
  auto came = receive_instance(*link, with_.db, driver, act.step, rsync_, report_to(act.operation));
  if (!came) {
    auto why = link->explain(came.error());
    link->refuse(why);
    return tl::unexpected{why};
  }
  step_result out;
  out.more = received_snapshots(with_.db.read(), *act.head, act.step, came->snapshots, came->offers);
  return out;
}

// The link is still there unless the daemon was started anew: then its end tells the sender.
outcome<void> transfers::undo(const step_undo& undo, storage_driver& driver) {
  auto inside = enter();
  if (auto link = find(undo.operation)) {
    link->refuse({fault::backend_failed, "The target has not taken the instance"});
    forget(undo.operation);
  }
  auto undone = undo_receiving(driver, undo.step);
  static_cast<void>(driver.empty_trash());
  return undone;
}

outcome<void> transfers::settle(const step_act& act, storage_driver& driver) {
  auto inside = enter();
  auto project = std::string{get(act.step.args, "project")}, name = std::string{get(act.step.args, "name")};
  auto kept = snapshots_of(with_.db.read(), project, name);
  for (auto& volume : words_of(get(act.step.args, "volumes"))) {
    bool named = std::any_of(kept.begin(), kept.end(), [&](auto& each) { return volume_of(each) == volume; });
    auto slash = volume.find('/');
    if (named || slash == volume.npos) continue;
    auto gone = driver.destroy_volume({volume.substr(0, slash), volume.substr(slash + 1)});
    if (!gone) return gone;
  }
  static_cast<void>(driver.empty_trash());
  if (auto link = find(act.operation)) {
    link->accept();
    forget(act.operation);
  }
  return {};
}

} // namespace troupe
