// Browsers refuse workers on pages opened from files, and the search of the site runs in one. There, its script runs in a
// hidden frame of the page instead. (The theme would load a library for this from another place.)
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      this.scope = new Promise((resolve, reject) => {
        frame.addEventListener("load", () => {
          const scope = frame.contentWindow;
          scope.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
          const script = scope.document.createElement("script");
          script.addEventListener("load", () => resolve(scope));
          script.addEventListener("error", reject);
          script.src = address;
          scope.document.body.append(script);
        }, { once: true });
      });
      frame.srcdoc = "<!doctype html><title>search</title>";
      document.body.append(frame);
    }

    async postMessage(data) {
      const scope = await this.scope;
      scope.dispatchEvent(new scope.MessageEvent("message", { data }));
    }
  };
}
