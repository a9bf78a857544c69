#include "runtime/blocking_pool.hpp"

#include "runtime/keyed_work.hpp"
#include "runtime/log.hpp"

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <pthread.h>
#include <utility>
#include <vector>

namespace troupe {
namespace {

/// Drivers recurse little; the default of 8 MiB would only cost address space and, once touched, memory.
constexpr size_t stack_bytes = 512 * 1024;

void run_guarded(std::function<void()> work) {
  try {
    work();
  } catch (const std::exception& e) {
    log().error("Blocking work threw: {}", e.what());
  } catch (...) {
    log().error("Blocking work threw");
  }
}

/// Threads for keyed work. A key has as many of them as it has calls that run, and each takes the next of the same key.
class lanes {
public:
  bool submit(keyed_work job) {
    std::lock_guard held{lock_};
    auto& its = lanes_[job.key];
    if (its.running == keyed_each_max) {
      if (its.queue.size() >= keyed_queue_max) return false;
      its.queue.push_back(std::move(job.work));
      return true;
    }
    bool taken = threads_.submit([this, job] { serve(job); });
    if (taken) ++its.running;
    if (its.running == 0) lanes_.erase(job.key);
    return taken;
  }

private:
  struct lane {
    size_t running = 0;
    std::deque<std::function<void()>> queue;
  };

  void serve(const keyed_work& first) {
    for (auto work = first.work; work; work = next(first.key)) run_guarded(std::move(work));
  }

  /// Empty: the thread's place in the lane is given up.
  std::function<void()> next(const std::string& key) {
    std::lock_guard held{lock_};
    auto at = lanes_.find(key);
    if (at->second.queue.empty()) {
      if (--at->second.running == 0) lanes_.erase(at);
      return {};
    }
    auto work = std::move(at->second.queue.front());
    at->second.queue.pop_front();
    return work;
  }

  std::mutex lock_; // guards lanes_
  std::map<std::string, lane> lanes_;
  blocking_pool threads_{keyed_threads_max}; // last: it ends first
};

} // namespace

struct blocking_pool::data {
  struct idler {
    std::condition_variable wake;
    bool called = false;
  };

  data(size_t most, size_t longest, std::chrono::milliseconds patience)
      : threads_max{most}, queue_max{longest}, idle_max{patience} {}

  const size_t threads_max;
  const size_t queue_max;
  const std::chrono::milliseconds idle_max;

  mutable std::mutex lock; // guards all below
  std::condition_variable empty;
  std::deque<std::function<void()>> queue;
  std::vector<idler*> idle; // the last to become idle is called first, so that the others can retire
  std::optional<pthread_t> retired;
  size_t threads = 0;
  bool closing = false, no_more_keyed = false;
  std::unique_ptr<lanes> keyed; // made with the first work for it

  void call_one() {
    auto* next = idle.back();
    idle.pop_back();
    next->called = true;
    next->wake.notify_one();
  }

  /// False: closing, or nothing came for `idle_max`.
  bool wait_for_work(std::unique_lock<std::mutex>& held) {
    if (closing) return false;
    idler me;
    idle.push_back(&me);
    if (me.wake.wait_for(held, idle_max, [&me] { return me.called; })) return true;
    idle.erase(std::find(idle.begin(), idle.end(), &me));
    return false;
  }

  void serve() {
    std::unique_lock held{lock};
    do {
      while (!queue.empty()) {
        auto work = std::move(queue.front());
        queue.pop_front();
        held.unlock();
        run_guarded(std::move(work));
        held.lock();
      }
    } while (wait_for_work(held));
    // Each retiring thread joins the one that retired before it, so that no more than one is left to join.
    auto before = std::exchange(retired, pthread_self());
    if (--threads == 0) empty.notify_all();
    held.unlock(); // from here on the pool may be gone; its destructor joins `retired`, which joins the others
    if (before) pthread_join(*before, nullptr);
  }

  bool start_thread() {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, stack_bytes);
    sigset_t all, before; // signals are for the threads that wait for them
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t made{};
    auto entry = [](void* self) -> void* {
      static_cast<data*>(self)->serve();
      return nullptr;
    };
    int failed = pthread_create(&made, &attributes, entry, this);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    pthread_attr_destroy(&attributes);
    if (failed) return false;
    pthread_setname_np(made, "blocking");
    ++threads;
    return true;
  }
};

blocking_pool::blocking_pool(size_t threads_max, size_t queue_max, std::chrono::milliseconds idle_max)
    : data_{std::make_unique<data>(std::max<size_t>(threads_max, 1), queue_max, idle_max)} {}

blocking_pool::~blocking_pool() {
  std::unique_lock held{data_->lock};
  auto keyed = std::move(data_->keyed);
  data_->no_more_keyed = true;
  held.unlock();
  keyed.reset(); // what it finishes may still submit here
  held.lock();
  data_->closing = true;
  while (!data_->idle.empty()) data_->call_one();
  data_->empty.wait(held, [this] { return data_->threads == 0; });
  auto last = data_->retired;
  held.unlock();
  if (last) pthread_join(*last, nullptr);
}

bool blocking_pool::submit(std::function<void()> work) {
  std::unique_lock held{data_->lock};
  if (auto* job = work.target<keyed_work>()) {
    if (data_->no_more_keyed) return false;
    if (!data_->keyed) data_->keyed = std::make_unique<lanes>();
    return data_->keyed->submit(std::move(*job));
  }
  if (data_->closing || data_->queue.size() >= data_->queue_max) return false;
  data_->queue.push_back(std::move(work));
  if (!data_->idle.empty())
    data_->call_one();
  else if (data_->threads < data_->threads_max && !data_->start_thread() && data_->threads == 0) {
    data_->queue.pop_back();
    return false;
  }
  return true;
}

size_t blocking_pool::queued() const {
  std::lock_guard held{data_->lock};
  return data_->queue.size();
}

size_t blocking_pool::threads() const {
  std::lock_guard held{data_->lock};
  return data_->threads;
}

} // namespace troupe
