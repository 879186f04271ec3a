// An application of express: all instances share its port, and none of it knows of that.
// wpm start express/main.js -i max
const express = require('express');

const app = express();

app.get('/', (request, response) => {
  response.send(`instance ${process.env.NODE_APP_INSTANCE}\n`);
});

app.listen(Number(process.env.PORT || 3000));
