#include "gateway/expiries.hpp"

#include "messages/unique_fd.hpp"

#include <future>
#include <map>
#include <mutex>
#include <set>
#include <sys/timerfd.h>
#include <unistd.h>
#include <vector>

namespace troupe {

struct expiries::data {
  loop& on;
  std::function<void(const std::string&)> ended;
  unique_fd timer{timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK)};
  loop::handle_ptr watch; // on the loop's thread
  std::mutex lock;
  std::map<std::string, int64_t, std::less<>> ends; // guarded by lock, as what follows
  std::set<std::pair<int64_t, std::string>> in_order;

  void arm() {
    itimerspec next{};
    next.it_value.tv_sec = in_order.empty() ? 0 : std::max<int64_t>(in_order.begin()->first, 1);
    timerfd_settime(timer.get(), TFD_TIMER_ABSTIME, &next, nullptr); // what is past is due at once
  }

  std::vector<std::string> take_ended() {
    std::lock_guard guard{lock};
    std::vector<std::string> out;
    for (auto now = time(nullptr); !in_order.empty() && in_order.begin()->first <= now;) {
      out.push_back(in_order.begin()->second);
      ends.erase(out.back());
      in_order.erase(in_order.begin());
    }
    arm();
    return out;
  }

  void due() {
    uint64_t times = 0;
    if (read(timer.get(), &times, sizeof times) < 0) return;
    for (auto& name : take_ended()) ended(name);
  }
};

expiries::expiries(loop& on, std::function<void(const std::string&)> ended) : data_{new data{on, std::move(ended)}} {
  on.post([d = data_.get()] { d->watch = d->on.watch_readable(d->timer.get(), [d] { d->due(); }); });
}

expiries::~expiries() {
  std::promise<void> closed;
  data_->on.post([&] {
    data_->watch.reset();
    closed.set_value();
  });
  closed.get_future().wait();
}

void expiries::set(const std::string& name, int64_t at) {
  std::lock_guard guard{data_->lock};
  auto [known, added] = data_->ends.emplace(name, at);
  if (!added && known->second >= at) return;
  if (!added) data_->in_order.erase({known->second, name});
  known->second = at;
  data_->in_order.emplace(at, name);
  data_->arm();
}

} // namespace troupe
